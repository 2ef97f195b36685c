"""Policies as rows of numbers: for every unit of a space, which of its options is taken."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.policies.normal_form import normal_form
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.space import Parameter, Space
from paretune.spaces.results.trial import Trial

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Option:
    """What can be decided about one unit.

    Attributes:
        choice: Index of the choice, for each of the unit's parameters.
        decided: Its layers' share of the policy, resolved.
    """

    choice: Mapping[str, int]
    decided: tuple[LayerPolicy, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A layer, or layers that share one decision; how wide layers are is a unit of its own.

    Attributes:
        layers: Their names.
        parameters: What is searched about them.
        options: Every different decision; the first takes the first choice of every parameter.
        option_of: The option of every combination of choices, by their indices: several may mean the same.
    """

    layers: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    options: tuple[Option, ...]
    option_of: Mapping[tuple[int, ...], int]

    @property
    def name(self) -> str:
        """Name of its first layer."""
        return self.layers[0]

    @property
    def is_width(self) -> bool:
        """Whether it decides about channels."""
        return self.parameters[0].knob == "channels"


def choice_of_trial(trial: Trial, space: Space) -> Mapping[str, int] | None:
    """Return the index of every parameter's choice, or ``None`` when the choices cannot express the policy."""
    if trial.parameters.keys() == {parameter.name for parameter in space.parameters}:
        return trial.parameters
    return space.choice_of(trial.candidate.policy)


class Encoding:
    """Translates between policies of a space and rows of option numbers.

    Attributes:
        space: What is encoded.
        units: Its units, in model order: the columns.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.units = _units_of(space)

    @property
    def base(self) -> IntArray:
        """The row of all first options."""
        return np.zeros(len(self.units), dtype=np.int64)

    @cached_property
    def option_counts(self) -> IntArray:
        """How many options each unit has."""
        return np.array([len(unit.options) for unit in self.units])

    def row_of(self, choice: Mapping[str, int]) -> tuple[int, ...]:
        """Return the row of a combination of choices."""
        return tuple(
            unit.option_of[tuple(choice[parameter.name] for parameter in unit.parameters)] for unit in self.units
        )

    def row_of_trial(self, trial: Trial) -> tuple[int, ...] | None:
        """Return the row of a trial's policy, or ``None`` where the choices cannot express it."""
        choice = choice_of_trial(trial, self.space)
        return None if choice is None else self.row_of(choice)

    def choice_of(self, row: Sequence[int]) -> dict[str, int]:
        """Return a combination of choices that gives a row."""
        return {
            name: index
            for unit, number in zip(self.units, row, strict=True)
            for name, index in unit.options[number].choice.items()
        }

    def policy_of(self, row: Sequence[int]) -> Policy:
        """Return the policy of a row."""
        return self.space.policy(self.choice_of(row))

    @cached_property
    def free_options(self) -> tuple[IntArray, ...]:
        """The options of each unit that need no training, such as a number format that is only written."""
        return tuple(
            np.array([place for place, option in enumerate(unit.options) if not _stages(unit.layers, option.decided)])
            for unit in self.units
        )

    @cached_property
    def pinned_stages(self) -> frozenset[str]:
        """The stages that layers need about which nothing is searched."""
        searched = {layer for unit in self.units for layer in unit.layers}
        policy = self.policy_of(self.base.tolist())
        return frozenset(stages_of(Policy(tuple(entry for entry in policy.entries if entry[0] not in searched))))

    def is_training_free(self, rows: IntArray) -> NDArray[np.bool_]:
        """Mark the policies that train nothing: what they measure untrained is what they measure.

        Args:
            rows: Shape (policies, units).
        """
        if self.pinned_stages:
            return np.zeros(len(rows), dtype=bool)
        free = [np.isin(rows[:, unit], options) for unit, options in enumerate(self.free_options)]
        return np.all(free, axis=0) if free else np.ones(len(rows), dtype=bool)


def _stages(layers: Sequence[str], decided: Sequence[LayerPolicy]) -> tuple[str, ...]:
    return stages_of(Policy(tuple(zip(layers, decided, strict=True))))


def _units_of(space: Space) -> tuple[Unit, ...]:
    by_layers: dict[tuple[bool, tuple[str, ...]], list[Parameter]] = {}
    for parameter in space.parameters:
        by_layers.setdefault((parameter.knob == "channels", parameter.layers), []).append(parameter)
    units = []
    specs = {spec.name: spec for spec in space.layers}
    for (_, layers), parameters in by_layers.items():
        options: dict[tuple[LayerPolicy, ...], Option] = {}
        number_of: dict[tuple[LayerPolicy, ...], int] = {}
        option_of: dict[tuple[int, ...], int] = {}
        for indices in itertools.product(*(range(len(parameter.choices)) for parameter in parameters)):
            knobs = {each.knob: each.choices[index] for each, index in zip(parameters, indices, strict=True)}
            decided = tuple(
                normal_form(specs[layer], LayerPolicy(**{**space.fixed[layer], **knobs})) for layer in layers
            )
            choice = {each.name: index for each, index in zip(parameters, indices, strict=True)}
            options.setdefault(decided, Option(choice, decided))
            number_of.setdefault(decided, len(number_of))
            option_of[indices] = number_of[decided]
        units.append(Unit(layers, tuple(parameters), tuple(options.values()), option_of))
    return tuple(units)
