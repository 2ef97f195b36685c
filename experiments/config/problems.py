"""What is wrong with an experiment file, collected so that it is all told at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from paretune.experiments.config.yaml_reader import Place, YamlDocument
from paretune.spaces.errors import ConfigurationError

_MOST_PROBLEMS_SHOWN = 5


class Problems:
    """The problems of one document, each with its line."""

    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self._lines: list[str] = []

    def add(self, place: Place, message: str, *, layer: str = "") -> None:
        """Add a problem at a place; ``layer`` is named with it."""
        where = self._document.where(place)
        where = f"layer '{layer}', {where}" if layer else where
        stem, end = (message[:-1], ".") if message.endswith(".") else (message, "")
        self._lines.append(f"{stem} ({where}){end}")

    @contextmanager
    def at(self, *place: str | int, layer: str = "") -> Iterator[None]:
        """Collect a ``ConfigurationError`` raised inside."""
        try:
            yield
        except ConfigurationError as error:
            self.add(place, str(error), layer=layer)

    def raise_any(self) -> None:
        """Raise if there is any problem.

        Raises:
            ConfigurationError: A line for each problem, five at most, and how many more there are.
        """
        more = len(self._lines) - _MOST_PROBLEMS_SHOWN
        shown = self._lines[:_MOST_PROBLEMS_SHOWN] + ([f"And {more} more."] if more > 0 else [])
        if shown:
            raise ConfigurationError("\n".join(shown))
