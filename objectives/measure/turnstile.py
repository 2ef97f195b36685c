"""Many work at the same time, or one measures alone: between processes on one machine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Turnstile:
    """A pair of lock files that processes share.

    Whoever works holds the room together with others, for about a second at a time. Whoever measures closes the gate,
    so that nobody comes in, waits until the room is empty, and has it alone. The kernel lets go of both when a
    process ends, however that happens. Inside a block, a block of the same kind does nothing more.

    Args:
        folder: Where the lock files lie; ``None`` for a process that shares the machine with nobody.
    """

    def __init__(self, folder: Path | None) -> None:
        self._gate: IO[bytes] | None = None
        self._room: IO[bytes] | None = None
        self._is_inside = False
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._gate, self._room = ((folder / name).open("ab") for name in (".gate", ".room"))

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
        if self._gate is None or self._room is None or self._is_inside:
            yield
            return
        fcntl.flock(self._gate, kind)
        try:
            fcntl.flock(self._room, kind)
            if kind == fcntl.LOCK_SH:
                fcntl.flock(self._gate, fcntl.LOCK_UN)  # whoever measures may close it behind this one
            self._is_inside = True
            yield
        finally:
            self._is_inside = False
            fcntl.flock(self._room, fcntl.LOCK_UN)
            fcntl.flock(self._gate, fcntl.LOCK_UN)
