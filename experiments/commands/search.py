"""``paretune search``: run or resume a search."""

import shlex
from dataclasses import replace
from pathlib import Path

import click

from paretune.experiments.commands.options import experiment_argument, say, trust_option


@click.command("search")
@experiment_argument
@click.option("--trials", type=click.IntRange(min=1), help="Trained trials in total.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Minutes of search in total.")
@click.option("--workers", type=click.IntRange(min=1), help="Evaluations at the same time.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of proposals, data split and training.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run; runs/NAME by default.")
@click.option("--no-tracking", is_flag=True, help="Keep no record in MLflow.")
@trust_option
def command(
    experiment: Path,
    trials: int | None,
    minutes: float | None,
    workers: int | None,
    seed: int | None,
    out: Path | None,
    no_tracking: bool,
    trust_model: bool,
) -> None:
    """Run or resume a search; show the front at the end.

    Ctrl-C stops it and keeps everything finished; the same command goes on.
    """
    from paretune.experiments.config.experiment import read_experiment, with_overrides
    from paretune.experiments.runs.searching import run_folder_of
    from paretune.experiments.session import run_session
    from paretune.experiments.stopping import Interrupted
    from paretune.experiments.terminal.session_report import report_session

    asked = with_overrides(read_experiment(experiment), trials=trials, minutes=minutes, workers=workers, seed=seed)
    if no_tracking:
        asked = replace(asked, tracking=None)
    folder = run_folder_of(asked, out)
    given = {"--trials": trials, "--minutes": minutes, "--workers": workers, "--seed": seed, "--out": out}
    words = ["paretune", "search", str(experiment)]
    words += [word for name, value in given.items() if value is not None for word in (name, f"{value}")]
    words += [flag for flag, is_given in (("--no-tracking", no_tracking), ("--trust-model", trust_model)) if is_given]
    try:
        end = run_session(asked, folder, trust_model=trust_model, command=words)
    except KeyboardInterrupt:
        raise Interrupted(shlex.join(words)) from None
    report_session(end, folder, say=say)
    if end.outcome.interrupted:
        raise Interrupted(shlex.join(words))
