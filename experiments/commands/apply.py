"""``paretune apply``: train and export one policy, without a search."""

from pathlib import Path

import click

from paretune.experiments.commands.options import experiment_argument, say, trust_option


@click.command("apply")
@click.argument("policy", type=click.Path(path_type=Path), metavar="POLICY.yaml")
@experiment_argument
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@trust_option
def command(policy: Path, experiment: Path, to: Path, trust_model: bool) -> None:
    """Train the model of EXPERIMENT under POLICY and write model.tflite, policy.yaml, card.md, measurement.json."""
    from paretune.experiments.config.experiment import read_experiment
    from paretune.experiments.exports.exporting import apply_policy

    exported = apply_policy(policy, read_experiment(experiment), to, trust_model=trust_model, say=say)
    for fault in exported.faults:
        say(f"not as asked: {fault}")
    say(f"{exported.summary}.")
    click.echo(str(to))
