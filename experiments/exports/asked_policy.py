"""A policy that was named when a run was asked again, kept so that one command trains it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from paretune.experiments.config.policy_file import write_policy
from paretune.experiments.files import disk_errors
from paretune.experiments.runs.run import Run
from paretune.experiments.terminal.wording import command_text
from paretune.spaces.errors import RunError
from paretune.spaces.policies.policy import Policy


@dataclass(frozen=True, slots=True)
class AskedPolicy:
    """Where a policy was written, and the command that trains it."""

    file: Path
    command: str


def keep_asked_policy(run: Run, policy: Policy, *, say: Callable[[str], None]) -> AskedPolicy | None:
    """Write a policy into the folder of a run; if it cannot be written, say so and return ``None``.

    The command names the experiment file itself where it is still there: what it refers to lies beside it, and not
    beside the copy in the run's folder.
    """
    folder = run.folder.asked
    file = folder / f"policy-{policy.digest[:12]}.yaml"
    try:
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
        write_policy(file, replace(run.trial(0).candidate, policy=policy))
    except RunError as error:
        say(str(error))  # the rest of the answer stands, also of a run that may only be read
        return None
    experiment = run.experiment.file if run.experiment.file.is_file() else run.folder.experiment
    return AskedPolicy(file, command_text("apply", file, experiment, "--to", file.with_suffix("")))
