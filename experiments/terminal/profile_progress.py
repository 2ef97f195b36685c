"""What a profile shows while it is measured: a live line on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from paretune.experiments.terminal.wording import seconds_text
from paretune.search.events import Profiling

#: Seconds between two lines where there is no terminal.
_SECONDS_BETWEEN_LINES = 30.0


class ProfileProgress:
    """Follows a profile; use it as a context manager, and :meth:`hear` as its ``notify``.

    Args:
        console: Where to write; stderr by default.
    """

    def __init__(self, *, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._began = self._last_line = time.monotonic()
        self._last: Profiling | None = None

    def __enter__(self) -> Self:
        self._began = self._last_line = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=1, transient=True, redirect_stdout=False)
            self._live.start()
        else:
            self.say("measuring policies untrained, each decision of each layer alone")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich__(self) -> Text:
        """Return the live line, cut to the terminal's width."""
        return Text(self.line(), no_wrap=True, overflow="ellipsis")

    def say(self, line: str) -> None:
        """Print one line, above the live one."""
        self._console.print(line, markup=False)

    def hear(self, event: Profiling) -> None:
        """Take note of how far it is, and print it where there is no live line."""
        self._last = event
        now, is_end = time.monotonic(), event.done == event.total
        if self._live is None and (is_end or now - self._last_line >= _SECONDS_BETWEEN_LINES):
            self._last_line = now
            self.say(self.line())

    def line(self) -> str:
        """Return how far it is, such as ``profile 37/151  |  48 s left``."""
        took = time.monotonic() - self._began
        if self._last is None:
            return "profile  measuring policies untrained"
        done, total = self._last.done, self._last.total
        if done == total:
            return f"profile {done}/{total}  ({seconds_text(took)})"
        left = seconds_text(took / done * (total - done)) + " left" if done else "time left unknown"
        return f"profile {done}/{total}  |  {left}"
