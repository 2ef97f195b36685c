"""The section ``objectives``: names, and functions of the user's own that measure the exported file."""

from collections.abc import Mapping, Sequence
from typing import Any

from paretune.experiments.config.problems import Problems
from paretune.objectives.loading.functions import is_function_reference
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.objective import ASKED_OBJECTIVES, FILE_OBJECTIVES, Direction, FileFunction, Objective
from paretune.spaces.suggest import nearest

_KEYS = ("name", "function", "direction", "unit", "log", "tolerance")


def all_objectives(document: Sequence[Any], problems: Problems) -> tuple[tuple[str, ...], tuple[FileFunction, ...]]:
    """Read what is optimised; a mapping declares a function that is measured on the exported file.

    Returns:
        The names, and the functions among them.
    """
    names: list[str] = []
    functions: list[FileFunction] = []
    for index, item in enumerate(document):
        name = ""
        with problems.at("objectives", index):
            if isinstance(item, Mapping):
                declared = _function(item)
                functions.append(declared)
                name = declared.objective.name
            elif isinstance(item, str):
                name = item
            else:
                raise ConfigurationError(f"An objective is a name, or a mapping with {', '.join(_KEYS)}; got {item!r}.")
            if name in names:
                raise ConfigurationError(f"Objective '{name}' is named twice.")
        names.append(name)
    return tuple(names), tuple(functions)


def _function(item: Mapping[str, Any]) -> FileFunction:
    for key in item:
        if key not in _KEYS:
            raise ConfigurationError(
                f"Unknown key '{key}' of an objective; known are {', '.join(_KEYS)}.{nearest(key, _KEYS)}"
            )
    name, function = item.get("name"), item.get("function")
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigurationError(f"`name` of an objective must be letters, digits and '_', got {name!r}.")
    if name == "metric" or name in FILE_OBJECTIVES or name in ASKED_OBJECTIVES:
        raise ConfigurationError(
            f"Objective '{name}' needs another name: files are measured by one of this name already."
        )
    if not isinstance(function, str) or not is_function_reference(function):
        raise ConfigurationError(f"`function` of objective '{name}' must be module:function, got {function!r}.")
    direction = item.get("direction", Direction.MINIMIZE)
    if direction not in list(Direction):
        raise ConfigurationError(f"`direction` of objective '{name}' must be minimize or maximize, got {direction!r}.")
    log, tolerance, unit = item.get("log", False), item.get("tolerance", 0), item.get("unit", "")
    if not isinstance(log, bool) or (log and direction == Direction.MAXIMIZE):
        raise ConfigurationError(f"`log` of objective '{name}' must be true or false, and only of what is minimized.")
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < float("inf"):
        raise ConfigurationError(
            f"`tolerance` of objective '{name}' must be a number of at least 0, got {tolerance!r}."
        )
    if not isinstance(unit, str):
        raise ConfigurationError(f"`unit` of objective '{name}' must be text, got {unit!r}.")
    return FileFunction(
        objective=Objective(name=name, direction=Direction(direction), unit=unit, tolerance=float(tolerance), log=log),
        function=function,
    )
