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
@trust_option
def command(run: str, pick: str, all_front: bool, to: Path | None, trust_model: bool) -> None:
    """Write model.tflite of one trial of RUN, with everything that ships with it.

    Beside it: model.zip, model_data.cc and .h (C array), smoke_test.py with example.npz, policy.yaml, card.md and
    measurement.json. The file is measured again before it is kept.
    """
    from paretune.experiments.exports.exporting import export_front, export_pick
    from paretune.experiments.runs.folder import find_run
    from paretune.experiments.runs.run import open_run

    folder = find_run(run)
    to = to or folder.path / "export" / ("front" if all_front else pick)
    with open_run(folder) as opened:
        if all_front:
            exported = export_front(opened, to, trust_model=trust_model, say=say)
            say(f"{len(exported)} trials; each measures as it did in the search.")
        else:
            say(f"{export_pick(opened, pick, to, trust_model=trust_model, say=say).summary}; it measures as it did.")
    click.echo(str(to))
