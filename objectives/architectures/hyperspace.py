"""The hyperparameters that a model is built with, found by building it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from paretune.objectives.architectures.choices import choices_of
from paretune.objectives.architectures.hypermodel import Hypermodel
from paretune.objectives.loading.model_source import refusals_named
from paretune.spaces.candidates.hyperspace import Hyperparameter
from paretune.spaces.candidates.variant import values_of_model
from paretune.spaces.errors import ModelRefused

_SEED = 0  # these models are thrown away

_Conditions = Mapping[str, tuple[Any, ...]]


def declare_hyperspace(hypermodel: Hypermodel) -> tuple[Hyperparameter, ...]:
    """Build models until every hyperparameter has been seen, and return those that leave a choice.

    As Keras Tuner does, every conditional scope is entered once. Beyond that, every choice of an unconditional
    hyperparameter is built once, the others at their defaults: so the units of a third layer are found, which only
    three layers declare, and they matter only then.

    Returns:
        Those that others depend on come first.

    Raises:
        ModelRefused: The function raises, or declares one name with different choices or one that stands for a
            setting of the recipe.
    """
    found: dict[str, Hyperparameter] = {}
    with refusals_named(hypermodel.reference):
        spaces = _enter_scopes(hypermodel)
        for declared in (each for space in spaces for each in space):
            _add(found, declared)
        in_scopes = dict(found)
        for parent in [each for each in found.values() if len(each.choices) > 1 and not each.conditions]:
            for declared, allowed in _branches(hypermodel, parent, default=spaces[0]):
                if declared.name not in found:
                    _add(found, declared)
                elif declared.name not in in_scopes:
                    continue  # another parent leads to it as well
                if declared.name in found:
                    _restrict(found, declared.name, parent, allowed)
    searched = {name: each for name, each in found.items() if len(each.choices) > 1}
    return tuple(
        # a parent that leaves no choice always is as the condition wants it
        replace(each, conditions={name: allowed for name, allowed in each.conditions.items() if name in searched})
        for each in searched.values()
    )


def _enter_scopes(hypermodel: Hypermodel) -> list[list[Any]]:
    """Return what is declared at the defaults, then with the first values that each conditional scope asks for."""
    spaces: list[list[Any]] = []
    entered: list[Any] = []
    waiting: list[dict[str, Any]] = [{}]
    while waiting:
        hyperparameters, _ = hypermodel.build(waiting.pop(0), _SEED)
        spaces.append(hyperparameters.space)
        entered += hyperparameters.active_scopes
        for scope in hyperparameters.inactive_scopes:
            if scope not in entered:
                entered.append(scope)  # whether its values open it or not, they are tried once
                waiting.append({condition.name: condition.values[0] for condition in scope})
    return spaces


def _add(found: dict[str, Hyperparameter], declared: Any) -> None:
    """Add what Keras Tuner declares, unless its conditions can never hold."""
    conditions = _conditions(declared, found)
    if conditions is None:
        return
    name, choices = declared.name, choices_of(declared)
    if not values_of_model({name: choices}):
        raise ModelRefused(f"hyperparameter '{name}' must have another name: this stands for a setting of the recipe.")
    known = found.get(name)
    if known is None:
        found[name] = Hyperparameter(name=name, choices=choices, default=declared.default, conditions=conditions)
    elif known.choices == choices:
        found[name] = replace(known, conditions=_either(known.conditions, conditions))
    else:
        first, second = (", ".join(map(str, each)) for each in (known.choices, choices))
        raise ModelRefused(
            f"hyperparameter '{name}' must have the same choices wherever it is declared, got {first} and {second}; "
            "give each a name of its own."
        )


def _conditions(declared: Any, found: Mapping[str, Hyperparameter]) -> _Conditions | None:
    """Return the choices that parents must have; ``None`` if one can have none of them."""
    conditions: dict[str, tuple[Any, ...]] = {}
    for condition in declared.conditions:
        possible = found[condition.name].choices if condition.name in found else ()
        possible = conditions.get(condition.name, possible)
        conditions[condition.name] = tuple(choice for choice in possible if choice in condition.values)
    return conditions if all(conditions.values()) else None


def _either(one: _Conditions, other: _Conditions) -> _Conditions:
    """Return conditions that hold wherever one or the other do: more often, where they name different parents."""
    return {name: tuple(dict.fromkeys((*one[name], *other[name]))) for name in one if name in other}


def _branches(
    hypermodel: Hypermodel, parent: Hyperparameter, *, default: list[Any]
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield what only some choices of ``parent`` declare, and with which."""
    spaces = {parent.default: default}
    for choice in parent.choices:
        if choice != parent.default:
            with contextlib.suppress(ModelRefused):  # where no model can be built, there is nothing to find
                spaces[choice] = hypermodel.build({parent.name: choice}, _SEED)[0].space
    declared = {each.name: each for space in spaces.values() for each in space}
    for name, each in declared.items():
        allowed = tuple(choice for choice, space in spaces.items() if any(name == other.name for other in space))
        if len(allowed) < len(spaces):
            yield each, allowed


def _restrict(found: dict[str, Hyperparameter], name: str, parent: Hyperparameter, allowed: tuple[Any, ...]) -> None:
    """Let a hyperparameter matter only with some choices of ``parent``."""
    known = found[name]
    before = known.conditions.get(parent.name, parent.choices)
    both = tuple(choice for choice in before if choice in allowed)
    if both:
        found[name] = replace(known, conditions={**known.conditions, parent.name: both})
