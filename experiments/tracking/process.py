"""The process that keeps MLflow's record of one running search.

Started as ``python -m paretune.experiments.tracking.process RUN_FOLDER COORDINATOR_PID TAGS``, it reads the
ledger every few seconds and is told on stdin how the search ended. When stdin closes without a word, or the coordinator
is no longer its parent, the search was killed, and the parent run ends as KILLED.
"""

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from paretune.experiments.exports.front_picture import save_picture
from paretune.experiments.profiles.keeping import profile_files
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.tracking.content import RunContent
from paretune.experiments.tracking.record import MlflowRecord
from paretune.experiments.tracking.source import read_content, read_report, session_tags
from paretune.experiments.tracking.tracker import Ending, without_credentials, writing_record

_SECONDS_BETWEEN_READS = 2.0
_SECONDS_AFTER_A_FAILURE = 20.0
#: A store that does not answer must not keep this process for ever once the search is over.
_SECONDS_AFTER_THE_END = 60
#: A process of an earlier, killed search may still be ending its record.
_SECONDS_FOR_A_PREDECESSOR = 90.0


class Coordinator:
    """The search that this process follows, heard over a pipe."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def ending(self, seconds: float) -> Ending | None:
        """Return how the search ended, or ``None`` if it has not within ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([0], [], [], min(left, 1.0))
            if readable:
                word = os.read(0, 64).decode().strip()
                return Ending(word) if word in list(Ending) else Ending.KILLED
            if os.getppid() != self._pid:
                return Ending.KILLED
            if left == 0:
                return None


class Follower:
    """Brings MLflow's record up to the ledger, as often as it is asked."""

    def __init__(self, folder: RunFolder, tags: Mapping[str, str]) -> None:
        self._folder = folder
        self._tags = tags
        self._record: MlflowRecord | None = None
        self._last: RunContent | None = None
        self._stamp: tuple[int, ...] = ()

    def catch_up(self, ending: Ending | None = None) -> bool:
        """Write what is new, and how the search ended if it has.

        Returns:
            Whether MLflow holds everything; a store that cannot be written is one of its troubles, not ours.
        """
        try:
            self._write(ending)
        except Exception:
            # For the log of the run; MLflow, SQLAlchemy and requests raise exceptions of many kinds.
            print(without_credentials(traceback.format_exc()), file=sys.stderr)
            self._record = self._last = None
            self._stamp = ()
            return False
        return True

    def _write(self, ending: Ending | None) -> None:
        stamp = _stamp(self._folder.ledger)
        if stamp == self._stamp and ending is None:
            return  # reading a long ledger only to find nothing new takes seconds
        content, store = read_content(self._folder)
        content = replace(content, tags={**content.tags, **self._tags})
        if content == self._last and ending is None:
            self._stamp = stamp
            return
        picture = save_picture(self._folder.path, content.front, content.metric)
        if self._record is None:
            self._record = MlflowRecord(store, content.run_id)
        files = profile_files(self._folder.path)
        self._record.update(content, picture, is_running=ending is None, profile_files=files)
        if ending is not None:
            self._record.log_report(read_report(self._folder))
            self._record.end(ending.mlflow_status, content)
        self._last, self._stamp = content, stamp


def _stamp(ledger: Path) -> tuple[int, ...]:
    """Return what changes whenever something is committed: times and sizes of the database and its log."""
    found = [path.stat() for path in (ledger, ledger.with_name(f"{ledger.name}-wal")) if path.exists()]
    return tuple(number for each in found for number in (each.st_mtime_ns, each.st_size))


def main(arguments: Sequence[str]) -> int:
    """Follow a run until its search ends; returns 0 when MLflow holds everything."""
    folder, coordinator = RunFolder(Path(arguments[0])), Coordinator(int(arguments[1]))
    for number in (signal.SIGINT, signal.SIGTERM):
        # A group or a service is stopped as a whole: the coordinator's end, which follows, is what to react to.
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(10)  # training and latency measurements come first
    with writing_record(folder.path, patience_seconds=_SECONDS_FOR_A_PREDECESSOR):
        follower = Follower(folder, {**json.loads(arguments[2]), **session_tags(Path.cwd())})
        ending = coordinator.ending(0)
        while ending is None:
            is_current = follower.catch_up()
            ending = coordinator.ending(_SECONDS_BETWEEN_READS if is_current else _SECONDS_AFTER_A_FAILURE)
        signal.alarm(_SECONDS_AFTER_THE_END)
        return 0 if follower.catch_up(ending) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
