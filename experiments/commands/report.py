"""``paretune report``: a run on one page."""

from pathlib import Path

import click

from paretune.experiments.commands.options import run_argument


@click.command("report")
@run_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; RUN/report.html by default.")
@click.option("--open", "open_", is_flag=True, help="Open it in the browser.")
def command(run: str, output: Path | None, open_: bool) -> None:
    """Write RUN as one HTML page that needs nothing beside it, and no network."""
    from paretune.experiments.report.page import write_report
    from paretune.experiments.runs.folder import find_run
    from paretune.experiments.runs.run import open_run

    with open_run(find_run(run)) as opened:
        written = write_report(opened, output)
    click.echo(str(written))
    if open_:
        click.launch(str(written.absolute()))
