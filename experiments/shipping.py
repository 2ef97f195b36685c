"""Export from a run, register what was exported, and say so: the library calls of ``paretune export``."""

import shlex
from pathlib import Path

from paretune.experiments.exports.exporting import Say, export_front, export_pick
from paretune.experiments.runs.run import Run
from paretune.experiments.tracking.registry import Registration, register, registry_of


def export_one(
    run: Run, which: str, to: Path, *, register_as: str | None, alias: str | None, trust_model: bool, say: Say
) -> None:
    """Export one trial of a run's front, and register the file that was written.

    Whether there is something to register in is found out before anything is measured.

    Raises:
        ParetuneError: See :func:`paretune.experiments.exports.exporting.export_pick` and
            :func:`paretune.experiments.tracking.registry.register`.
    """
    registration = None
    if register_as is not None:
        registration = Registration(name=register_as, alias=alias)
        registry_of(run)
    exported = export_pick(run, which, to, trust_model=trust_model, say=say)
    say(f"{exported.summary}; it measures as it did in the search.")
    if registration is not None:
        done = register(run, exported.file, registration)
        made = "is registered as" if done.is_new else "had been registered before, as"
        say(f"This file {made} version {done.version} of {registration.name}: {done.uri}")
        words = ["mlflow", "models", "serve", "-m", done.uri, "--env-manager", "local", "--port", "5001"]
        say(f"  MLFLOW_TRACKING_URI={shlex.quote(done.tracking_uri)} {shlex.join(words)}")


def export_all(run: Run, to: Path, *, trust_model: bool, say: Say) -> None:
    """Export every trial of a run's front; see :func:`paretune.experiments.exports.exporting.export_front`."""
    exported = export_front(run, to, trust_model=trust_model, say=say)
    say(f"{len(exported)} trials; each measures as it did in the search.")
