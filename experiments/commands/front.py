"""``paretune front``: show the front of a run."""

import click

from paretune.experiments.commands.options import format_option_with, print_json, read_bytes, run_argument, say


@click.command("front")
@run_argument
@click.option("--max-size", callback=read_bytes, help="Largest deflated file, such as 60kB.")
@click.option("--max-drop", type=click.FloatRange(min=0), help="Worst loss of the metric against the baseline.")
@click.option(
    "--max-latency", type=click.FloatRange(min=0, min_open=True), help="Slowest, as a multiple of the baseline."
)
@format_option_with("keras-tuner", help_="How to print; keras-tuner: the trials as HyperParameters.")
def command(run: str, max_size: float | None, max_drop: float | None, max_latency: float | None, format_: str) -> None:
    """Show the front of RUN (a folder, or a name under runs/); ask it again with tighter bounds.

    Asked again, it names the finished trial that is best within the bounds, or the nearest to them. Where the run has a
    profile, it may also name a policy that nobody has trained and that should do better, with the command that does.
    """
    from paretune.experiments.asking import ask_run
    from paretune.experiments.explaining.noise import neighbours_of, no_interval_because
    from paretune.experiments.exports.asked_policy import keep_asked_policy
    from paretune.experiments.exports.keras_tuner import keras_tuner_document
    from paretune.experiments.runs.folder import find_run
    from paretune.experiments.runs.run import open_run
    from paretune.experiments.session import metric_of
    from paretune.experiments.terminal.answer_text import answer_document, answer_lines
    from paretune.experiments.terminal.front_document import front_document
    from paretune.experiments.terminal.tables import print_front

    with open_run(find_run(run)) as opened:
        answer = ask_run(opened, max_bytes=max_size, max_drop=max_drop, max_latency=max_latency)
        if format_ == "keras-tuner":
            print_json(keras_tuner_document(opened, answer.front))
            return
        resamples = opened.ledger.resamples()
        neighbours = neighbours_of(answer.front, resamples)
        kept = keep_asked_policy(opened, answer.untried.policy, say=say) if answer.untried is not None else None
    if format_ == "json":
        print_json({**front_document(answer.front, neighbours), **answer_document(answer, kept)})
    else:
        print_front(answer.front, metric_of(opened), neighbours, reason=no_interval_because(answer.front, resamples))
        for line in answer_lines(answer, kept):
            click.echo(line)
