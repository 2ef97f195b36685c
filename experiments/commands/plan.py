"""``paretune plan``: what a search will face."""

from pathlib import Path

import click

from paretune.experiments.commands.options import experiment_argument, format_option, print_json, say, trust_option


@click.command("plan")
@experiment_argument
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run, if it is not runs/NAME.")
@trust_option
@format_option
def command(experiment: Path, out: Path | None, trust_model: bool, format_: str) -> None:
    """Show the size of the space, the sizes in reach, what a trial costs, and the constraints as numbers."""
    from paretune.experiments.config.experiment import read_experiment
    from paretune.experiments.planning import plan_experiment
    from paretune.experiments.runs.searching import run_folder_of
    from paretune.experiments.terminal.plan_text import plan_rows
    from paretune.experiments.terminal.tables import facts_table, print_table

    asked = read_experiment(experiment)
    say("loading the model and the data; measuring untrained policies")
    plan = plan_experiment(asked, run_folder_of(asked, out), trust_model=trust_model)
    if format_ == "json":
        print_json(plan.to_document())
        return
    print_table(facts_table(plan_rows(plan)))
