"""``paretune explain``: where the bytes and the accuracy of a trial went."""

import click

from paretune.experiments.commands.options import (
    format_option,
    print_json,
    run_argument,
    say,
    trial_option,
    trust_option,
)


@click.command("explain")
@run_argument
@trial_option()
@click.option("--train", is_flag=True, help="Train every relaxed policy in full, instead of estimating.")
@trust_option
@format_option
def command(run: str, trial: str, train: bool, trust_model: bool, format_: str) -> None:
    """Show what each layer of a trial of RUN costs and saves, beside the baseline and a uniform policy.

    Every compressed layer is let go alone. Number formats are measured on the trained weights; zeros and clusters are
    estimated from untrained files, unless --train trains each. Results are kept in the run's folder.
    """
    from paretune.experiments.explaining.explanation import explain_trial, trial_named
    from paretune.experiments.explaining.explanation_document import explanation_document
    from paretune.experiments.runs.folder import find_run
    from paretune.experiments.runs.run import open_run
    from paretune.experiments.terminal.explanation_text import explanation_lines, layers_explained
    from paretune.experiments.terminal.tables import print_table

    with open_run(find_run(run)) as opened:
        chosen = trial_named(opened, trial)
        explanation = explain_trial(opened, chosen, train=train, trust_model=trust_model, say=say)
    if format_ == "json":
        print_json(explanation_document(explanation))
        return
    print_table(layers_explained(explanation))
    for line in explanation_lines(explanation):
        click.echo(line)
