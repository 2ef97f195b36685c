"""MLflow beside a search: where its record is kept, and the process that writes it.

The ledger is the truth and MLflow a projection of it. The projection runs in a process of its own, which reads the
ledger like any other reader: the search neither waits for it nor learns of its troubles, apart from one line at the
end.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from paretune.experiments.config.experiment import Tracking
from paretune.spaces.errors import RunError

#: Read by MLflow when it is imported or used: no telemetry, and no long waiting for a server that is not there.
MLFLOW_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }
)


def quieten_mlflow() -> None:
    """Set :data:`MLFLOW_ENVIRONMENT` in this process, apart from what the user has set; before MLflow is imported."""
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingStore:
    """An MLflow store.

    Attributes:
        uri: MLflow's tracking URI.
        experiment: Name of the MLflow experiment that runs are kept in.
        artifacts: Where a new experiment keeps its artifacts; ``None`` leaves it to the server.
        folder: Folder of the embedded store; ``None`` for a server.
    """

    uri: str
    experiment: str
    artifacts: str | None = None
    folder: Path | None = None


def tracking_store(run_folder: Path, tracking: Tracking) -> TrackingStore:
    """Return the store that an experiment names, or the embedded one beside the run folder."""
    embedded = embedded_store(run_folder.absolute().parent, tracking.experiment)
    if tracking.uri is None:
        return embedded
    # MLflow would keep the artifacts of a bare database in ./mlruns
    is_database = tracking.uri.startswith(("sqlite:", "postgresql", "mysql", "mssql"))
    artifacts = embedded.artifacts if is_database else None
    return TrackingStore(uri=tracking.uri, experiment=tracking.experiment, artifacts=artifacts)


def embedded_store(folder: Path, experiment: str = "paretune") -> TrackingStore:
    """Return the store that lives beside the run folders in ``folder``: ``mlflow.db`` and ``mlflow-artifacts``."""
    folder = folder.absolute()
    return TrackingStore(
        uri=f"sqlite:///{folder / 'mlflow.db'}",
        experiment=experiment,
        artifacts=(folder / "mlflow-artifacts").as_uri(),
        folder=folder,
    )


def without_credentials(text: str) -> str:
    """Return an address, or text with addresses in it, that may be printed."""
    return re.sub(r"//[^/@\s]*@", "//", text)


@contextmanager
def writing_record(run_folder: Path, *, patience_seconds: float) -> Iterator[None]:
    """Be the only process that writes the MLflow record of a run.

    Raises:
        RunError: If another process has been writing it for longer than ``patience_seconds``.
    """
    deadline = time.monotonic() + patience_seconds
    with (run_folder / "tracking.lock").open("wb") as file:
        while not _locked(file):
            if time.monotonic() >= deadline:
                raise RunError(
                    f"Another process is writing the MLflow record of {run_folder}: a search does so while it runs. "
                    "Try again when it has ended."
                )
            time.sleep(0.1)
        yield


def _locked(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Ending(StrEnum):
    """How a search ended, in the words that the tracking process is told."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    KILLED = "killed"

    @property
    def mlflow_status(self) -> str:
        """Status of the parent run in MLflow, which has no word for an interrupted one."""
        return {Ending.FINISHED: "FINISHED", Ending.FAILED: "FAILED"}.get(self, "KILLED")


class Tracker:
    """The tracking process of a running search, as its coordinator holds it."""

    def __init__(self, run_folder: Path, tags: Mapping[str, str]) -> None:
        """Start the process.

        Args:
            run_folder: What it follows. Its stderr goes to ``tracking.log`` there.
            tags: What the parent run is to say of this session, and the ledger does not know.
        """
        arguments = [str(run_folder.absolute()), str(os.getpid()), json.dumps(dict(tags))]
        self._process: subprocess.Popen[bytes] | None = None
        # A search does not end because it cannot be tracked: what fails here shows as a record that is behind.
        with suppress(OSError), (run_folder / "tracking.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                # -P: a file of the current folder must not stand in for a module
                [sys.executable, "-P", "-m", "paretune.experiments.tracking.process", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the coordinator, which then tells how the search ended
            )

    def tell(self, ending: Ending) -> None:
        """Tell the process how the search ended; it then brings the record up to date and ends."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(f"{ending}\n".encode())
                self._process.stdin.close()

    def caught_up(self, *, patience_seconds: float) -> bool:
        """Wait for the process to end, after :meth:`tell`, and return whether the record is up to date.

        A process that takes longer goes on by itself for a while, and then gives up.
        """
        if self._process is None:
            return False
        try:
            return self._process.wait(patience_seconds) == 0
        except subprocess.TimeoutExpired:
            # Popen would complain, when it is collected, about a process that nobody waited for
            self._process.returncode = -1
            return False
