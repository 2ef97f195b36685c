"""``paretune sync``: rebuild a run's MLflow record from its ledger."""

import click

from paretune.experiments.commands.options import run_argument


@click.command("sync")
@run_argument
def command(run: str) -> None:
    """Bring MLflow's record of RUN up to its ledger, and check that both show the same front."""
    from paretune.experiments.runs.folder import find_run
    from paretune.experiments.tracking.sync import sync_run

    done = sync_run(find_run(run))
    front = ", ".join(map(str, done.front)) or "none"
    click.echo(f"{done.store}: {done.children} trials, {done.written} written; on the front in both: {front}")
