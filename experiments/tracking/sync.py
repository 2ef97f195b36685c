"""Rebuild MLflow's record of a run from its ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from paretune.experiments.exports.front_picture import save_picture
from paretune.experiments.profiles.keeping import profile_files
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.tracking.record import MlflowRecord
from paretune.experiments.tracking.source import read_content, read_report
from paretune.experiments.tracking.tracker import (
    Ending,
    TrackingStore,
    quieten_mlflow,
    without_credentials,
    writing_record,
)
from paretune.spaces.errors import RunError
from paretune.spaces.results.trial import TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What MLflow holds after it was brought up to date.

    Attributes:
        store: Where, without credentials.
        children: Child runs, one for each trial that has ended or was refused.
        written: How many of them had to be written.
        front: Trials on the front, in MLflow and in the ledger alike.
    """

    store: str
    children: int
    written: int
    front: tuple[int, ...]


def sync_run(folder: RunFolder) -> SyncResult:
    """Bring MLflow's record up to the ledger, and check that both show the same front.

    Raises:
        RunError: If MLflow cannot be written, a search is writing the record, or the fronts differ.
    """
    with writing_record(folder.path, patience_seconds=2.0):
        content, store = read_content(folder)
        address = without_credentials(store.uri)
        is_running = is_being_searched(folder)
        picture = save_picture(folder.path, content.front, content.metric)
        with mlflow_errors(store):
            record = MlflowRecord(store, content.run_id)
            files = profile_files(folder.path)
            counts = record.update(content, picture, is_running=is_running, profile_files=files)
            record.log_report(read_report(folder))
            if not is_running and record.is_left_running:
                unfinished = (TrialState.RUNNING, TrialState.INTERRUPTED)
                is_whole = all(trial.state not in unfinished for trial in content.trials)
                record.end((Ending.FINISHED if is_whole else Ending.KILLED).mlflow_status, content)
            shown = record.trials_tagged_pareto()
    front = tuple(trial.number for trial in content.front.trials)
    if shown != set(front):
        raise RunError(
            f"MLflow must show the front {sorted(front)} of {folder}, it shows {sorted(shown)}. Run the same command "
            "again; if that does not help, delete the run in MLflow first."
        )
    return SyncResult(store=address, children=counts.children, written=counts.written, front=tuple(sorted(front)))


@contextmanager
def mlflow_errors(store: TrackingStore) -> Iterator[None]:
    """Turn what MLflow raises into one line without credentials.

    Raises:
        RunError: Instead of what MLflow, SQLAlchemy or the operating system raised.
    """
    quieten_mlflow()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        address = without_credentials(store.uri)
        raise RunError(f"MLflow at {address} must be reachable and writable, but: {_first_line(error)}") from error


def is_being_searched(folder: RunFolder) -> bool:
    """Return whether a search holds the run's lock at this moment."""
    try:
        with folder.lock():
            return False
    except RunError:
        return True


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return without_credentials(lines[0]) if lines else type(error).__name__
