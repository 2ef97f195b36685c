"""A live line in the output of a notebook's cell.

rich's own live display needs ipywidgets there, which not every front end shows; a display that is updated in place
works in all of them.
"""

import time
from collections.abc import Callable
from typing import Any

_EVERY_SECONDS = 1.0


class NotebookLine:
    """One line that is written again in place; :meth:`stop` takes it away.

    Args:
        line: Returns what the line says now.
    """

    def __init__(self, line: Callable[[], str]) -> None:
        self._line = line
        self._handle: Any = None
        self._shown = 0.0

    def refresh(self) -> None:
        """Write the line, at most once a second."""
        now = time.monotonic()
        if now - self._shown >= _EVERY_SECONDS:
            self._shown = now
            self._show(self._line())

    def stop(self) -> None:
        """Take the line away."""
        if self._handle is not None:
            self._show("")

    def _show(self, text: str) -> None:
        # only a notebook gets here, and brings it
        from IPython.display import display

        contents = {"text/plain": text}
        if self._handle is None:
            self._handle = display(contents, raw=True, display_id=True)
        else:
            self._handle.update(contents, raw=True)
