"""``paretune reproduce``: train trials again, and compare."""

import click

from paretune.experiments.commands.options import (
    format_option,
    print_json,
    run_argument,
    say,
    trial_option,
    trust_option,
)


@click.command("reproduce")
@run_argument
@trial_option("front")
@click.option("--seeds", type=click.IntRange(min=0), default=0, help="Train with so many new seeds too.")
@trust_option
@format_option
def command(run: str, trial: str, seeds: int, trust_model: bool, format_: str) -> None:
    """Train a trial of RUN again, or its whole front, and say whether it comes out as it did.

    On the machine of the search, with the same model, data and versions, the file must have the same bytes; elsewhere
    its values must lie within the noise of new seeds. Exits with 1 if not. The front stays as it is.
    """
    from paretune.experiments.explaining.reproducing import reproduce_trials, trials_named
    from paretune.experiments.explaining.reproduction import reproduction_document
    from paretune.experiments.runs.folder import find_run
    from paretune.experiments.runs.run import open_run
    from paretune.experiments.session import metric_of
    from paretune.experiments.terminal.reproduction_text import reproduction_lines, reproductions_table
    from paretune.experiments.terminal.tables import print_table

    with open_run(find_run(run)) as opened:
        chosen, metric = trials_named(opened, trial), metric_of(opened)
        found, expected = reproduce_trials(opened, chosen, seeds=seeds, trust_model=trust_model, say=say)
    if format_ == "json":
        print_json(reproduction_document(found, expected, metric))
    else:
        print_table(reproductions_table(found, metric))
        for line in reproduction_lines(found, expected):
            click.echo(line)
    if not all(each.is_as_expected for each in found):
        raise click.exceptions.Exit(1)
