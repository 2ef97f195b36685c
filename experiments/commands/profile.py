"""``paretune profile``: what each decision about each layer costs alone."""

from pathlib import Path

import click

from paretune.experiments.commands.options import experiment_argument, format_option, print_json, trust_option


@click.command("profile")
@experiment_argument
@click.option("--workers", type=click.IntRange(min=1), help="Evaluations at the same time.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the run, if a search of it is given one.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; runs/NAME by default.")
@trust_option
@format_option
def command(
    experiment: Path, workers: int | None, seed: int | None, out: Path | None, trust_model: bool, format_: str
) -> None:
    """Measure what each decision about each layer costs alone, without training anything.

    It is kept with the run, and a later search starts from it. Ctrl-C keeps what was measured; the same command goes
    on.
    """
    from paretune.experiments.config.experiment import read_experiment, with_overrides
    from paretune.experiments.profiles.profiling import profile_experiment
    from paretune.experiments.runs.searching import run_folder_of
    from paretune.experiments.stopping import Interrupted
    from paretune.experiments.terminal.profile_text import profile_lines, profile_table
    from paretune.experiments.terminal.tables import print_table
    from paretune.experiments.terminal.wording import command_text

    asked = with_overrides(read_experiment(experiment), workers=workers, seed=seed)
    given = {"--workers": workers, "--seed": seed, "--out": out, "--trust-model": trust_model or None}
    words = ["profile", str(experiment)]
    for name, value in given.items():
        words += [] if value is None else [name] if value is True else [name, f"{value}"]
    try:
        kept = profile_experiment(asked, run_folder_of(asked, out), trust_model=trust_model)
    except KeyboardInterrupt:
        kept = None
    if kept is None:
        raise Interrupted(command_text(*words))
    if format_ == "json":
        print_json({**kept.document, "files": {"picture": str(kept.picture), "data": str(kept.data)}})
        return
    print_table(profile_table(kept.document))
    for line in profile_lines(kept):
        click.echo(line)
