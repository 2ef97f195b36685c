"""Ctrl-C and SIGTERM as a wish that a long command takes up when it can."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_MOST_SECONDS_DEFERRED = 5.0


class Interrupted(Exception):
    """The user stopped a command; everything finished is kept.

    Attributes:
        resume: The command that goes on from here; empty where there is nothing to go on with.
    """

    def __init__(self, resume: str = "") -> None:
        super().__init__(resume)
        self.resume = resume


class StopWish:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._is_deferred = False

    def __bool__(self) -> bool:
        return self._asked.is_set()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the first signal only sets the wish; outside, and from the second on, it raises at once."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
            if self._asked.is_set():
                signal.setitimer(signal.ITIMER_REAL, 0)

    def take(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: Unless this is the first signal and it may be deferred. A wish that has been deferred
                for five seconds raises it too.
        """
        is_first = not self._asked.is_set()
        self._asked.set()
        if not (self._is_deferred and is_first):
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, _MOST_SECONDS_DEFERRED)


@contextmanager
def stop_signals() -> Iterator[StopWish]:
    """Treat SIGTERM like Ctrl-C, and both as a :class:`StopWish`, until the end of the block.

    Only the main thread may handle signals; in any other there is nothing that could be wished.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, wish.take) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
