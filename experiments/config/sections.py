"""The parts of an experiment file that mean something, read into the values of :mod:`paretune.spaces`.

Each function adds what is impossible to the problems, with its place, and goes on.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paretune.experiments.config.problems import Problems
from paretune.experiments.config.yaml_reader import Place
from paretune.objectives.settings import BALANCED
from paretune.spaces.candidates.recipe import Recipe, read_recipe
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import KNOBS, LayerPolicy, read_choice, read_knob
from paretune.spaces.policies.space import SpaceSettings
from paretune.spaces.results.objective import Constraint, read_constraints

if TYPE_CHECKING:
    from paretune.experiments.config.schema import KnobsSection, SpaceSection

_FRACTIONS = ("epochs", "learning_rate", "begin", "end", "distillation", "temperature")


def space_settings(space: "SpaceSection", problems: Problems) -> SpaceSettings:
    """Read what is searched."""
    pinned: dict[str, dict[str, Any]] = {}
    for name, knobs in space.pinned.items():
        place: Place = ("space", "pinned", name)
        pinned[name] = {}
        for knob in _given(knobs):
            with problems.at(*place, knob, layer=name):
                pinned[name][knob] = _checked(knob, getattr(knobs, knob))
    return SpaceSettings(
        choices=_choices(space, ("space",), problems),
        layers={
            name: _choices(knobs, ("space", "layers", name), problems, layer=name)
            for name, knobs in space.layers.items()
        },
        groups=tuple(tuple(group) for group in space.groups),
        pinned=pinned,
    )


def _choices(knobs: "KnobsSection", place: Place, problems: Problems, *, layer: str = "") -> dict[str, tuple[Any, ...]]:
    choices: dict[str, tuple[Any, ...]] = {}
    for knob in _given(knobs):
        values = getattr(knobs, knob)
        if isinstance(values, dict):
            with problems.at(*place, knob, layer=layer):
                choices[knob] = tuple(_range(knob, values))
            continue
        values = values if isinstance(values, list) else [values]
        if not values:
            problems.add((*place, knob), f"`{knob}` needs at least one choice, got an empty list.", layer=layer)
        read = []
        for index, item in enumerate(values):
            with problems.at(*place, knob, index, layer=layer):
                read.append(read_choice(knob, item))
        choices[knob] = tuple(read)
    return choices


def _given(knobs: "KnobsSection") -> list[str]:
    return [knob for knob in KNOBS if knob in knobs.model_fields_set]


def _checked(knob: str, value: object) -> Any:
    read = read_knob(knob, value)
    LayerPolicy(**{knob: read})
    return read


def _range(knob: str, document: Mapping[str, Any]) -> list[float]:
    """Return the numbers of ``{from: 0, to: 0.9, step: 0.1}``, both ends included."""
    numbers = [document.get(key) for key in ("from", "to", "step")]
    given = knob == "sparsity" and set(document) == {"from", "to", "step"}
    if not given or not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        allowed = "a list, or {from: 0, to: 0.9, step: 0.1}" if knob == "sparsity" else "a list"
        raise ConfigurationError(f"`{knob}` must be {allowed}; got {dict(document)!r}.")
    first, last, step = (float(number) for number in numbers if number is not None)
    if not 0 <= first <= last < 1 or not step >= 0.001:
        raise ConfigurationError(
            f"0 <= `from` <= `to` < 1 and `step` >= 0.001 must hold, got {first:g}, {last:g} and {step:g}."
        )
    count = int((last - first) / step + 1e-9)
    return [round(first + index * step, 9) for index in range(count + 1)]


def class_weights(document: Any, problems: Problems) -> Mapping[int, float] | str | None:
    """Read the factors of the training loss by label, in ascending order of the labels."""
    if document is None:
        return None
    if document == BALANCED:
        return BALANCED
    place: Place = ("task", "class_weights")
    if not isinstance(document, dict) or not document:
        shown = "an empty mapping" if document == {} else repr(document)
        problems.add(place, f"`class_weights` must be {BALANCED}, or factors by label as {{0: 1, 1: 5}}, got {shown}.")
        return None
    factors: dict[int, float] = {}
    for label, factor in document.items():
        is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not label.isdecimal():
            problems.add((*place, label), f"`class_weights` must name labels 0, 1, 2, ..., got {label!r}.")
        elif not is_number or not 0 <= factor < math.inf:
            problems.add((*place, label), f"`class_weights` of label {label} must be at least 0, got {factor!r}.")
        else:
            factors[int(label)] = float(factor)
    return dict(sorted(factors.items()))


def all_constraints(document: Mapping[str, Any], section: str, problems: Problems) -> tuple[Constraint, ...]:
    """Read the bounds on objectives, by name, of the section ``constraints`` or ``stop_when``."""
    constraints: list[Constraint] = []
    for name, bounds in document.items():
        with problems.at(section, name):
            constraints.extend(read_constraints(name, bounds))
    return tuple(constraints)


def whole_recipe(
    document: Mapping[str, Any], problems: Problems
) -> tuple[Recipe, Mapping[str, Mapping[str, tuple[Any, ...]]]]:
    """Read the stages one by one, so that every problem is told with its own line.

    Returns:
        The recipe, and what is searched about it: a setting with a list has its first value in the recipe.
    """
    stages: dict[str, Any] = {}
    searched: dict[str, dict[str, tuple[Any, ...]]] = {}
    for stage, settings in document.items():
        if settings is None:
            continue
        if not isinstance(settings, dict):
            problems.add(("recipe", stage), f"Stage '{stage}' needs a mapping of settings, got {settings!r}.")
            continue
        with problems.at("recipe", stage):
            listed = {name: value for name, value in settings.items() if isinstance(value, list)}
            for name, values in listed.items():
                if not values or not all(isinstance(value, int | float | str) for value in values):
                    raise ConfigurationError(
                        f"`{name}` of stage '{stage}' must be a value, or a list of numbers or words to search; "
                        f"got {values!r}."
                    )
            stages[stage] = _stage(stage, {**settings, **{name: values[0] for name, values in listed.items()}})
            for name, values in listed.items():
                choices = tuple(dict.fromkeys(_stage(stage, {**stages[stage], name: each})[name] for each in values))
                if len(choices) > 1:
                    searched.setdefault(stage, {})[name] = choices
    return read_recipe(stages), searched


def _stage(stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a stage, checked."""
    for name in ("begin", "end"):  # compared before their kind is checked
        if isinstance(settings.get(name, 0.0), bool | str | list | dict | None):
            raise ConfigurationError(f"`{name}` of stage '{stage}' must be a number, got {settings[name]!r}.")
    # 4 and 4.0 are one number, and must give one candidate
    read = {
        name: float(value) if name in _FRACTIONS and type(value) is int else value for name, value in settings.items()
    }
    read_recipe({stage: read})
    return read
