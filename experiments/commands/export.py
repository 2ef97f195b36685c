"""``paretune export``: write one trial as a verified file with its papers."""

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
@click.option("--to", type=click.Path(path_type=Path), help="Folder to write; RUN/export/PICK by default.")
@trust_option
def command(run: str, pick: str, to: Path | None, trust_model: bool) -> None:
    """Write model.tflite, policy.yaml, card.md and measurement.json of one trial of RUN.

    The file is measured again before it is kept.
    """
    from paretune.experiments.exports.exporting import export_pick
    from paretune.experiments.runs.folder import find_run
    from paretune.experiments.runs.run import open_run

    folder = find_run(run)
    to = to or folder.path / "export" / pick
    with open_run(folder) as opened:
        exported = export_pick(opened, pick, to, trust_model=trust_model, say=say)
    say(f"{exported.summary}; it measures as it did in the search.")
    click.echo(str(to))
