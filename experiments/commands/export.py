"""``paretune export``: write trials as verified files with their papers."""

from pathlib import Path

import click

from paretune.experiments.commands.options import run_argument, say, trust_option


@click.command("export")
@run_argument
@click.option(
    "--pick",
    default="knee",
    show_default=True,
    metavar="knee|N|smallest|most-accurate|fastest",
    help="Which trial of the front.",
)
@click.option("--all-front", is_flag=True, help="Every trial of the front, a folder each, and an index.")
@click.option("--to", type=click.Path(path_type=Path), help="Folder to write; RUN/export/PICK by default.")
@click.option("--register", metavar="NAME", help="Register it in MLflow under this name.")
@click.option("--alias", help="Let this alias mean the registered version.")
@trust_option
def command(
    run: str, pick: str, all_front: bool, to: Path | None, register: str | None, alias: str | None, trust_model: bool
) -> None:
    """Write model.tflite of one trial of RUN, with everything that ships with it.

    Beside it: model.zip, model_data.cc and .h (C array), smoke_test.py with example.npz, policy.yaml, card.md and
    measurement.json. The file is measured again before it is kept.
    """
    if alias and not register:
        raise click.UsageError("--alias needs --register NAME.")
    if all_front and register:
        raise click.UsageError("--register takes one trial: use --pick instead of --all-front.")
    from paretune.experiments.runs.folder import find_run
    from paretune.experiments.runs.run import open_run
    from paretune.experiments.shipping import export_all, export_one

    folder = find_run(run)
    to = to or folder.path / "export" / ("front" if all_front else pick)
    with open_run(folder) as opened:
        if all_front:
            export_all(opened, to, trust_model=trust_model, say=say)
        else:
            export_one(opened, pick, to, register_as=register, alias=alias, trust_model=trust_model, say=say)
    click.echo(str(to))
