"""``paretune front``: show the front of a run."""

import click

from paretune.experiments.commands.options import format_option, print_json, read_bytes, run_argument


@click.command("front")
@run_argument
@click.option("--max-size", callback=read_bytes, help="Largest deflated file, such as 60kB.")
@click.option("--max-drop", type=click.FloatRange(min=0), help="Worst loss of the metric against the baseline.")
@click.option(
    "--max-latency", type=click.FloatRange(min=0, min_open=True), help="Slowest, as a multiple of the baseline."
)
@format_option
def command(run: str, max_size: float | None, max_drop: float | None, max_latency: float | None, format_: str) -> None:
    """Show the front of RUN (a folder, or a name under runs/); ask it again with tighter bounds."""
    from paretune.experiments.runs.folder import find_run
    from paretune.experiments.runs.run import open_run
    from paretune.experiments.session import metric_of
    from paretune.experiments.terminal.front_document import front_document
    from paretune.experiments.terminal.tables import front_table, print_table
    from paretune.spaces.objective import Bound, Constraint

    with open_run(find_run(run)) as opened:
        metric = metric_of(opened)
        asked = (
            ("size_bytes", Bound.MAX, max_size),
            (metric, Bound.DROP, max_drop),
            ("latency_ratio", Bound.MAX, max_latency),
        )
        also = [
            Constraint(objective=name, bound=bound, value=value) for name, bound, value in asked if value is not None
        ]
        front = opened.front(also=also)
    if format_ == "json":
        print_json(front_document(front))
    else:
        print_table(front_table(front, metric))
