"""The best policies if the effects of single decisions simply added up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretune.search.additive.encoding import Encoding
from paretune.search.additive.knapsack import AdditiveFront, IntArray, additive_front, farthest_first, front_of
from paretune.search.additive.profile import OptionCosts, Profile
from paretune.search.additive.widths import Widths
from paretune.search.front import FloatArray
from paretune.spaces.results.objective import Objective

#: So many ways to narrow the model are looked at, each with the best of all else.
_MOST_WAYS = 8
#: The smallest share of a file that is believed of removed channels.
_LEAST_SHARE = 1e-3


def solve(encoding: Encoding, profile: Profile, objectives: Sequence[Objective]) -> AdditiveFront:
    """Return the best policies if the effects of single decisions simply added up.

    What removing channels does is no sum: it scales the rest. So a few ways to narrow the model are taken from the
    front of what channels alone do, and for each of them the rest is solved exactly.

    Args:
        encoding: The space.
        profile: The effects.
        objectives: What is a cost.

    Returns:
        The front of the rise of the loss and of what is asked: the bytes of the file, the rise of the latency ratio,
        the rise of each amount. The bytes stand second, and are there too where nothing else is asked.
    """
    everything = tuple(np.arange(count) for count in encoding.option_counts)
    problem = _Problem(profile, Widths(encoding), tuple(each.name for each in objectives), everything)
    fronts = [problem.front_at(way) for way in problem.ways_to_narrow()]
    if len(fronts) == 1:
        return fronts[0]
    costs = np.concatenate([front.costs for front in fronts])
    options = np.concatenate([front.options for front in fronts])
    best = front_of(costs)
    best = best[np.lexsort(costs[best].T[::-1])]
    return AdditiveFront(costs[best], options[best], False, has_bytes=problem.has_bytes)


def solve_training_free(encoding: Encoding, profile: Profile, objectives: Sequence[Objective]) -> AdditiveFront:
    """Return the best policies among those that train nothing, likewise; an empty front where there are none.

    Beside decisions that training repairs these look poor, but of them the effects are known and not hoped for.
    """
    free, widths = encoding.free_options, Widths(encoding)
    untouched = np.zeros(len(encoding.units), dtype=np.int64)
    others = [unit for unit in range(len(free)) if unit not in widths.columns]
    if encoding.pinned_stages or not others or not all(map(len, free)):
        return AdditiveFront(np.zeros((0, 2)), np.zeros((0, len(free)), dtype=np.int64), True)
    problem = _Problem(profile, widths, tuple(each.name for each in objectives), free)
    untouched[list(widths.columns)] = [free[column][0] for column in widths.columns]
    return problem.front_at(untouched)


@dataclass(frozen=True, slots=True)
class _Problem:
    """The effects of decisions, and which of them are costs.

    Attributes:
        profile: The effects.
        widths: Of the space.
        asked: Names of the objectives.
        options: Those of each unit that may be taken.
    """

    profile: Profile
    widths: Widths
    asked: tuple[str, ...]
    options: tuple[IntArray, ...]

    @property
    def scaled(self) -> tuple[str, ...]:
        """What is a cost beside the loss and the bytes; removed channels scale it."""
        return tuple(name for name in self.asked if name == "latency_ratio" or name in self.profile.amounts)

    @property
    def has_bytes(self) -> bool:
        """Whether the bytes of the file are a cost."""
        return "size_bytes" in self.asked or not any(name in self.profile.amounts for name in self.asked)

    def ways_to_narrow(self) -> IntArray:
        """Return rows that narrow the model, spread from not at all to the most; all else takes its first option."""
        columns = list(self.widths.columns)
        untouched = np.zeros((1, len(self.profile.units)), dtype=np.int64)
        if not columns:
            return untouched
        whole = self.profile.base.values["size_bytes"]
        units = []
        for column in columns:
            costs = self.profile.costs[column]
            shrinks = np.log2(np.maximum(1 + costs.bytes / whole, _LEAST_SHARE))
            units.append(np.stack([costs.loss, shrinks, *(_rises(costs, name) for name in self.scaled)], axis=1))
        front = additive_front(units)
        spread = front.costs[:, 1:2]
        chosen = farthest_first(spread, _MOST_WAYS - 1, taken=[int(spread.argmax())])
        ways = np.zeros((len(chosen), len(self.profile.units)), dtype=np.int64)
        ways[:, columns] = front.options[chosen]
        return np.unique(np.concatenate([untouched, ways]), axis=0)

    def front_at(self, way: IntArray) -> AdditiveFront:
        """Return the front of all that is decided beside one way to narrow the model."""
        rows, profile = way[None, :], self.profile
        others = [column for column in range(len(profile.units)) if column not in self.widths.columns]
        ratios = {name: self._ratio(way, name) for name in self.scaled}
        units = []
        for column in others:
            costs = profile.costs[column]
            parts = [costs.loss, *([costs.bytes * self.widths.of_options(column, way)] if self.has_bytes else [])]
            rises = np.stack([*parts, *(_rises(costs, name) * ratio for name, ratio in ratios.items())], axis=1)
            units.append(rises[self.options[column]])
        if not units:  # nothing but channels is searched
            units = [np.zeros((1, 1 + self.has_bytes + len(ratios)))]
        front = additive_front(units)
        loss = sum(float(profile.costs[column].loss[way[column]]) for column in self.widths.columns)
        fixed = [profile.fixed_bytes] if self.has_bytes else []
        base = profile.base.values
        moved = np.array([loss, *fixed, *(base.get(name, 0.0) * (ratio - 1) for name, ratio in ratios.items())])
        options = np.repeat(rows, len(front), axis=0)
        for place, column in enumerate(others):
            options[:, column] = self.options[column][front.options[:, place]]
        return AdditiveFront(front.costs + moved, options, front.is_exact, has_bytes=self.has_bytes)

    def _ratio(self, way: IntArray, name: str) -> float:
        """Return by what the removed channels multiply a cost."""
        base = self.profile.base.values.get(name, 0.0)
        rises = (float(_rises(self.profile.costs[column], name)[way[column]]) for column in self.widths.columns)
        return math.prod(1 + rise / base for rise in rises) if base else 1.0


def _rises(costs: OptionCosts, name: str) -> FloatArray:
    return costs.latency if name == "latency_ratio" else costs.amounts[name]
