"""Many work at the same time, or one measures alone: between processes on one machine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turnstile:
    """A pair of lock files that processes share.

    Whoever works holds the room together with others, for a fraction of a second at a time. Whoever measures closes
    the gate, so that nobody comes in, waits until the room is empty, and has it alone. The kernel lets go of both when
    a process ends, however that happens. Inside a block, a block of the same kind does nothing more.

    Args:
        folder: Where the lock files lie; ``None`` for a process that shares the machine with nobody.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._is_inside = False
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep the processor busy beside others who do."""
        with self._inside(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Measure while nobody works."""
        with self._inside(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _inside(self, kind: int) -> Iterator[None]:
        if self._folder is None or self._is_inside:
            yield
            return
        with (self._folder / ".gate").open("ab") as gate, (self._folder / ".room").open("ab") as room:
            fcntl.flock(gate, kind)
            fcntl.flock(room, kind)
            if kind == fcntl.LOCK_SH:
                fcntl.flock(gate, fcntl.LOCK_UN)  # whoever measures may close it behind this one
            self._is_inside = True
            try:
                yield
            finally:
                self._is_inside = False  # closing the files lets go of both
