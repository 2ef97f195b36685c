"""YAML as plain data that remembers its lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretune.spaces.errors import ConfigurationError

#: Where a value stands in a document: mapping keys and list indices from the top.
Place = tuple[str | int, ...]

_DEEPEST = 30


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A YAML mapping as plain data.

    Attributes:
        file: Where it was read, for messages.
        text: As written.
        data: Plain ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None``; keys are strings.
        lines: Line, from 1, of every key and list item.
    """

    file: Path
    text: str
    data: dict[str, Any]
    lines: Mapping[Place, int] = field(repr=False)

    def where(self, place: Place) -> str:
        """Return ``digits.yaml line 14`` for a place, or for the nearest place above it that has a line."""
        for length in range(len(place), 0, -1):
            line = self.lines.get(place[:length])
            if line is not None:
                return f"{self.file.name} line {line}"
        return self.file.name


def read_yaml(path: Path) -> YamlDocument:
    """Read a file that holds one YAML mapping.

    Raises:
        ConfigurationError: If the file is missing, unreadable, not YAML, says a key twice, uses tags, or holds
            something other than a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file {path}. `paretune init MODEL --data DATA` writes one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> YamlDocument:
    """Read one YAML mapping from text; ``path`` is where it came from.

    Raises:
        ConfigurationError: See :func:`read_yaml`.
    """
    # costs 40 ms, which `paretune --help` does not need to spend
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        loaded = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark is not None else ""
        problem = (error.problem or "it cannot be parsed").split(" with value")[0]
        raise ConfigurationError(f"{path.name} is not valid YAML: {problem} ({path.name}{line}).") from None
    except RecursionError:
        raise ConfigurationError(f"{path.name} is nested too deeply.") from None
    except YAMLError as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigurationError(f"{path.name} is not valid YAML: {first_line}.") from None
    if not isinstance(loaded, dict):
        kind = "nothing" if loaded is None else f"a {_kind(loaded)}"
        raise ConfigurationError(f"{path.name} must hold a mapping of keys and values, got {kind}.")
    lines: dict[Place, int] = {}
    data = _plain(loaded, (), lines, path)
    return YamlDocument(path, text, data, lines)


def _plain(value: Any, place: Place, lines: dict[Place, int], path: Path) -> Any:
    if len(place) > _DEEPEST:
        raise ConfigurationError(f"{path.name} is nested deeper than {_DEEPEST} levels at {_dotted(place[:3])}.")
    position: Any = getattr(value, "lc", None)
    if isinstance(value, dict):
        for key in value:
            if key in (position.data or {}):  # a key that `<<` merged in stands elsewhere
                lines[(*place, str(key))] = position.key(key)[0] + 1
        return {str(key): _plain(item, (*place, str(key)), lines, path) for key, item in value.items()}
    if isinstance(value, list):
        for index in range(len(value)):
            lines[(*place, index)] = position.item(index)[0] + 1
        return [_plain(item, (*place, index), lines, path) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    # ruamel's own kinds of number and text remember how they were spelled
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    line = lines.get(place)
    raise ConfigurationError(
        f"`{_dotted(place)}` must be a number, a text, a list or a mapping, got a {_kind(value)} "
        f"({path.name} line {line})."
    )


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place)


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "list"
    return {"CommentedSeq": "list", "TaggedScalar": "tag", "str": "text"}.get(
        type(value).__name__, type(value).__name__
    )
