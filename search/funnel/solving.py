"""The best policies if the effects of single decisions simply added up."""

from collections.abc import Sequence

import numpy as np

from paretune.search.funnel.additive import AdditiveFront, IntArray, additive_front, farthest_first, front_of
from paretune.search.funnel.encoding import Encoding
from paretune.search.funnel.profile import Profile
from paretune.search.funnel.widths import Widths
from paretune.spaces.objective import Objective

#: So many ways to narrow the model are looked at, each with the best of all else.
_MOST_WAYS = 8


def solve(encoding: Encoding, profile: Profile, objectives: Sequence[Objective]) -> AdditiveFront:
    """Return the best policies if the effects of single decisions simply added up.

    What removing channels does is no sum: it scales the rest. So a few ways to narrow the model are taken from the
    front of what channels alone do, and for each of them the rest is solved exactly.

    Args:
        encoding: The space.
        profile: The effects.
        objectives: Latency is a cost only if it is among them.

    Returns:
        The front of the rise of the loss, the bytes of the file and, if asked, the rise of the latency ratio.
    """
    widths = Widths(encoding)
    has_latency = any(objective.name == "latency_ratio" for objective in objectives)
    fronts = [_front_at(way, profile, widths, has_latency) for way in _ways_to_narrow(profile, widths, has_latency)]
    if len(fronts) == 1:
        return fronts[0]
    costs = np.concatenate([front.costs for front in fronts])
    options = np.concatenate([front.options for front in fronts])
    best = front_of(costs)
    best = best[np.lexsort(costs[best].T[::-1])]
    return AdditiveFront(costs[best], options[best], False)


def _ways_to_narrow(profile: Profile, widths: Widths, has_latency: bool) -> IntArray:
    """Return rows that narrow the model, spread from not at all to the most; all else takes its first option."""
    columns = list(widths.columns)
    untouched = np.zeros((1, len(profile.units)), dtype=np.int64)
    if not columns:
        return untouched
    whole = profile.base.values["size_bytes"]
    units = []
    for column in columns:
        costs = profile.costs[column]
        parts = [costs.loss, np.log2(np.maximum(1 + costs.bytes / whole, 1e-3))]
        units.append(np.stack([*parts, *([costs.latency] if has_latency else [])], axis=1))
    front = additive_front(units)
    chosen = farthest_first(front.costs[:, 1:2], _MOST_WAYS - 1, taken=[int(front.costs[:, 1].argmax())])
    ways = np.zeros((len(chosen), len(profile.units)), dtype=np.int64)
    ways[:, columns] = front.options[chosen]
    return np.unique(np.concatenate([untouched, ways]), axis=0)


def _front_at(way: IntArray, profile: Profile, widths: Widths, has_latency: bool) -> AdditiveFront:
    """Return the front of all that is decided beside one way to narrow the model."""
    rows = way[None, :]
    loss = sum(float(profile.costs[column].loss[way[column]]) for column in widths.columns)
    base = profile.base.values.get("latency_ratio", 0.0)
    ratio = _latency_of(way, profile, widths, base)
    others = [column for column in range(len(profile.units)) if column not in widths.columns]
    units = []
    for column in others:
        costs = profile.costs[column]
        parts = [costs.loss, costs.bytes * widths.of_options(column, rows)[0]]
        units.append(np.stack([*parts, *([costs.latency * ratio] if has_latency else [])], axis=1))
    front = additive_front(units) if units else AdditiveFront(np.zeros((1, 2 + has_latency)), rows[:, :0], True)
    costs = front.costs + np.array([loss, profile.fixed_bytes, *([base * (ratio - 1)] if has_latency else [])])
    options = np.repeat(rows, len(front), axis=0)
    options[:, others] = front.options
    return AdditiveFront(costs, options, front.is_exact)


def _latency_of(way: IntArray, profile: Profile, widths: Widths, base: float) -> float:
    """Return by what removed channels multiply the latency."""
    ratio = 1.0
    for column in widths.columns:
        ratio *= 1 + float(profile.costs[column].latency[way[column]]) / base if base else 1.0
    return ratio
