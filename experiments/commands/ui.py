"""``paretune ui``: MLflow's page on this machine."""

import click


@click.command("ui")
@click.argument("run", required=False)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def command(run: str | None, port: int) -> None:
    """Open MLflow's page for RUN, or for the runs under runs/, on 127.0.0.1; Ctrl-C ends it."""
    from paretune.experiments.commands.options import say
    from paretune.experiments.tracking.page import serve_page

    serve_page(run, port, say=say)
