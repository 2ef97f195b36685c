"""``paretune doctor``: what each knob may do to each layer, and why not."""

from pathlib import Path

import click

from paretune.experiments.commands.options import experiment_argument, format_option, print_json, say, trust_option


@click.command("doctor")
@experiment_argument
@trust_option
@format_option
def command(experiment: Path, trust_model: bool, format_: str) -> None:
    """Show which knobs apply to each layer of the model, and why not."""
    from paretune.experiments.config.experiment import read_experiment
    from paretune.experiments.diagnosis import diagnosis_document
    from paretune.experiments.terminal.tables import (
        hyperparameter_lines,
        layers_table,
        print_table,
        refusal_lines,
    )
    from paretune.experiments.workers.one_worker import one_worker

    say("loading the model and the data")
    asked = read_experiment(experiment)
    with one_worker(asked, trust_model=trust_model) as pool:
        description = pool.describe()
    if format_ == "json":
        print_json(diagnosis_document(description, asked.notes))
        return
    print_table(layers_table(description.layers, asked.decompositions))
    for title, lines in (
        ("Why not:", refusal_lines(description.layers, asked.patterns, asked.decompositions)),
        ("Not searched, for the target:", asked.notes),
        ("Other models, searched too:", hyperparameter_lines(description.hyperspace)),
        ("Good to know:", description.notes),
    ):
        if lines:
            click.echo(f"\n{title}")
        for line in lines:
            click.echo(f"- {line}")
