"""The profile of a model without a search: what each decision costs alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from paretune.experiments.config.experiment import Experiment
from paretune.experiments.profiles.keeping import keep_profile, kept_profile, profile_files
from paretune.experiments.runs.fingerprint import digest_without_loading
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import OUTCOME, Run, open_run
from paretune.experiments.runs.searching import PreparedRun, prepare_run
from paretune.experiments.stopping import StopWish, stop_signals
from paretune.experiments.terminal.profile_progress import ProfileProgress
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.pool import build_keras_evaluator
from paretune.spaces.errors import RunError

#: What the ledger remembers once a profile is complete: a digest of what was asked for.
_PROFILED = "profiled"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptProfile:
    """A complete profile, and where it lies.

    Attributes:
        document: As :func:`paretune.experiments.profiles.document.profile_document` returns it.
        picture: The picture of it.
        data: The document as a file.
    """

    document: Mapping[str, Any]
    picture: Path
    data: Path


def profile_experiment(
    experiment: Experiment,
    folder: RunFolder,
    *,
    trust_model: bool = False,
    build: EvaluatorFactory = build_keras_evaluator,
    console: Console | None = None,
) -> KeptProfile | None:
    """Measure the profile of an experiment's model in the folder of its run, or go on with it.

    A search in the same folder takes it over, whether it comes before or after.

    Args:
        experiment: What would be searched, command line included.
        folder: Where the run lives.
        trust_model: Whether code inside the model file may run.
        build: Builds the evaluator in each worker.
        console: Where progress goes; stderr by default.

    Returns:
        ``None`` if Ctrl-C or SIGTERM stopped it; what had been measured is kept.

    Raises:
        KeyboardInterrupt: If it was stopped before it began.
        RunError: If not even the policy of all first choices could be measured.
        ParetuneError: See :func:`paretune.experiments.runs.searching.prepare_run`.
    """
    known = _profile_before(experiment, folder)
    if known is not None:
        return known
    progress = ProfileProgress(console=console)
    with (
        stop_signals() as wish,
        prepare_run(experiment, folder, trust_model=trust_model, say=progress.say, build=build) as prepared,
    ):
        return _measured(prepared, progress, wish)


def _measured(prepared: PreparedRun, progress: ProfileProgress, wish: StopWish) -> KeptProfile | None:
    # Optuna and what comes with the search take a second to import
    from paretune.search.profiling import measure_profile

    run = prepared.run
    with progress, wish.deferred():
        is_over = measure_profile(
            prepared.problem,
            prepared.pool,
            run.ledger,
            notify=progress.hear,
            stop_requested=lambda: bool(wish),
        )
    if not is_over:
        return None
    document = keep_profile(run, is_over=True)
    if document is None:
        raise RunError(
            "The policy that takes the first choice of every knob could not be measured untrained, so there is nothing "
            f"to compare with: {run.folder.worker_log} tells why."
        )
    run.ledger.remember({_PROFILED: _asked(run.experiment)})
    return _kept(run, document)


def _profile_before(experiment: Experiment, folder: RunFolder) -> KeptProfile | None:
    """Return the profile that is there already, if nothing has changed since; no worker is started to find out."""
    if not folder.exists:
        return None
    with open_run(folder) as run:
        document = kept_profile(run)
        ended = run.ledger.fact(OUTCOME) or {}
        if document is None or _asked(experiment) not in (run.ledger.fact(_PROFILED), ended.get("asked")):
            return None
        return _kept(run, document)


def _asked(experiment: Experiment) -> str:
    return digest_without_loading(experiment, experiment.settings_for_evaluator(threads=1).versions())


def _kept(run: Run, document: Mapping[str, Any]) -> KeptProfile:
    picture, data = profile_files(run.folder.path)
    return KeptProfile(document=document, picture=picture, data=data)
