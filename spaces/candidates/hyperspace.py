"""Hyperparameters of a model that is built for the search, such as its width; each choice gives another base model."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.suggest import nearest

#: What an inactive hyperparameter is told as.
OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameter:
    """One setting that a model is built with.

    Attributes:
        name: As the function that builds the model calls it.
        choices: Values to try, in order: numbers, strings or booleans.
        default: One of them: the value of the baseline.
        conditions: It matters only while each of these others takes one of these values.
    """

    name: str
    choices: tuple[Any, ...]
    default: Any
    conditions: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, hash=False)

    @property
    def is_ordered(self) -> bool:
        """Whether neighbouring choices are alike: they are numbers."""
        return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in self.choices)

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Return whether it matters beside these values of those before it."""
        return all(values.get(name) in allowed for name, allowed in self.conditions.items())


def default_values(hyperspace: Sequence[Hyperparameter]) -> dict[str, Any]:
    """Return the values of the baseline's model, in normal form."""
    return normal_values(hyperspace, {each.name: each.default for each in hyperspace})


def normal_values(hyperspace: Sequence[Hyperparameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in which those that do not matter are :data:`OFF`, so that equal models have equal values."""
    normal: dict[str, Any] = {}
    for each in hyperspace:  # those that others depend on come first
        normal[each.name] = values[each.name] if each.is_active(normal) else OFF
    return normal


def read_values(hyperspace: Sequence[Hyperparameter], document: object) -> dict[str, Any]:
    """Read values from plain data, in normal form; what is not named keeps its default.

    Raises:
        ConfigurationError: On one that is not known, or a value that is none of its choices.
    """
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"`hyperparameters` must be a mapping of names to values, got {document!r}.")
    known = {each.name: each for each in hyperspace}
    for name, value in document.items():
        if name not in known:
            listed = f"known are {', '.join(known)}" if known else "this experiment searches none"
            raise ConfigurationError(f"Unknown hyperparameter '{name}'; {listed}.{nearest(str(name), known)}")
        if value != OFF and value not in known[name].choices:
            choices = ", ".join(map(str, known[name].choices))
            raise ConfigurationError(f"Hyperparameter '{name}' must be one of {choices}, got {value!r}.")
    given = {name: value for name, value in document.items() if value != OFF}
    return normal_values(hyperspace, {**{each.name: each.default for each in hyperspace}, **given})


def all_values(hyperspace: Sequence[Hyperparameter]) -> Iterator[dict[str, Any]]:
    """Yield the values of every different model, in normal form."""
    seen: set[tuple[Any, ...]] = set()
    for combination in itertools.product(*(each.choices for each in hyperspace)):
        names = (each.name for each in hyperspace)
        normal = normal_values(hyperspace, dict(zip(names, combination, strict=True)))
        key = tuple(normal.values())
        if key not in seen:
            seen.add(key)
            yield normal
