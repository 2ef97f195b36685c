"""The folder a run lives in: what lies where, and who may write there."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paretune.experiments.files import disk_errors
from paretune.spaces.errors import RunError
from paretune.spaces.suggest import nearest

#: Where runs live unless told otherwise, in the current folder.
RUNS = Path("runs")

_LEDGER = "ledger.sqlite"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder; making this value touches nothing.

    ::

        runs/digits/
            ledger.sqlite        every trial and what it measured
            experiment.yaml      the experiment file as it was last searched
            front.png            the front so far
            report.html          all of it on one page, once `paretune report` has made it
            profile.png .json    what each decision costs alone, once that has been measured
            trials/00012/        model.tflite, weights.npz, policy.yaml, fidelity.json
            given/               model, data and experiment file of `paretune.compress()`
            stages/              trained stages that later trials start from; may be deleted
            asked/               policies that `paretune front` has named and nobody has trained
            explained/           what `paretune explain` has measured, a file for each trial; may be deleted
            reproductions/       what `paretune reproduce` has trained again, a file for each training
            worker.log           what the workers printed
            .lock                held by the search that is writing here
            .gate .room          where workers wait while one of them measures latency
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def ledger(self) -> Path:
        """The SQLite file."""
        return self.path / _LEDGER

    @property
    def experiment(self) -> Path:
        """The copy of the experiment file."""
        return self.path / "experiment.yaml"

    @property
    def asked(self) -> Path:
        """Folder of policies that were named when the run was asked again."""
        return self.path / "asked"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    @property
    def explained(self) -> Path:
        """Folder of what was measured to explain trials."""
        return self.path / "explained"

    @property
    def reproductions(self) -> Path:
        """Folder of what was trained again."""
        return self.path / "reproductions"

    @property
    def worker_log(self) -> Path:
        """What the workers print."""
        return self.path / "worker.log"

    @property
    def exists(self) -> bool:
        """Whether there is a run in it."""
        return self.ledger.is_file()

    def make(self) -> None:
        """Make the folder.

        Raises:
            RunError: If it cannot be made.
        """
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes here, until the end of the block or of the process.

        The kernel keeps the lock and lets go of it when this process ends, however that happens. Child processes do
        not inherit it.

        Raises:
            RunError: If another process holds it.
        """
        with disk_errors(self.path), (self.path / ".lock").open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read(20).decode(errors="replace").strip()
                process = f" (process {holder})" if holder.isdecimal() else ""
                raise RunError(
                    f"Another search is using {self.path}{process}. "
                    "Wait for it, or give this one a folder with --out (`out` in Python)."
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
            file.flush()
            yield


def find_run(text: str, runs: Path = RUNS) -> RunFolder:
    """Return the run that a RUN argument names: a folder, or a name under ``runs``.

    Raises:
        RunError: If there is none; the known ones are listed.
    """
    for path in (Path(text), runs / text):
        if RunFolder(path).exists:
            return RunFolder(path)
    known = sorted(path.parent.name for path in runs.glob(f"*/{_LEDGER}"))
    listed = f"known in {runs} are {', '.join(known)}" if known else f"there is none in {runs}"
    raise RunError(f"There is no run '{text}'; {listed}.{nearest(text, known)}")


def cache_folder() -> Path:
    """Return where prepared models are kept for all runs of this user, as the XDG base directories say."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "paretune"
