"""The additive problem, solved exactly: one option for every unit, costs that add up, and no sum that another beats."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.search.front import FloatArray

IntArray = NDArray[np.int64]

#: Most sums that are kept between two units. Below it the front is exact; above it, sums that are equal to about one
#: part in this many of each cost's range stand for each other.
MOST_SUMS = 4_000


@dataclass(frozen=True, slots=True)
class AdditiveFront:
    """Every non-dominated way to decide about all units, or a fine selection.

    Attributes:
        costs: Shape (points, costs), ascending in the first cost.
        options: Shape (points, units): the option of each unit.
        is_exact: Whether nothing was left out.
        has_bytes: Whether the second cost is the bytes of the file.
    """

    costs: FloatArray
    options: IntArray
    is_exact: bool
    has_bytes: bool = True

    def __len__(self) -> int:
        return len(self.costs)


def additive_front(units: Sequence[FloatArray], *, most_sums: int = MOST_SUMS) -> AdditiveFront:
    """Return the front of a multiple-choice knapsack with several costs.

    Units are added one by one; of the sums so far only those are kept that no other dominates, since whatever follows
    adds the same to both. Several costs are no obstacle, so that constraints on any of them are met by leaving out the
    points that break one: the cheapest that remains is the exact answer.

    Args:
        units: For each unit its options' costs, shape (options, costs), all minimised; options with an infinite cost
            are never taken.
        most_sums: See :data:`MOST_SUMS`.

    Raises:
        ValueError: If there is no unit, or one without an option that can be taken.

    References:
        Nemhauser & Ullmann (1969), Discrete dynamic programming and capital allocation; for the multiple choice:
        Kellerer, Pferschy & Pisinger (2004), Knapsack Problems, ch. 11.
    """
    if not units:
        raise ValueError("the additive problem needs at least one unit")
    costs = np.zeros((1, units[0].shape[1]))
    options = np.zeros((1, 0), dtype=np.int64)
    is_exact = True
    for number, unit in enumerate(units):
        usable = np.flatnonzero(np.isfinite(unit).all(axis=1))
        if not usable.size:
            raise ValueError(f"unit {number} has no option that can be taken")
        usable = usable[front_of(unit[usable])]
        sums = (costs[:, None, :] + unit[usable][None, :, :]).reshape(-1, unit.shape[1])
        kept = front_of(sums)
        if len(kept) > most_sums:
            kept, is_exact = kept[_thinned(sums[kept], most_sums)], False
        before, chosen = np.divmod(kept, len(usable))
        costs, options = sums[kept], np.hstack([options[before], usable[chosen][:, None]])
    order = np.lexsort(costs.T[::-1])
    return AdditiveFront(costs[order], options[order], is_exact)


def front_of(rows: FloatArray) -> IntArray:
    """Return the places of the rows that no other dominates; of equal ones, one."""
    import moocore

    return np.flatnonzero(moocore.is_nondominated(rows, keep_weakly=False))


def _thinned(costs: FloatArray, most: int) -> IntArray:
    """Return the places of at most about ``most`` points: one for each cell of a grid, the corners always."""
    low, span = costs.min(axis=0), np.ptp(costs, axis=0)
    cells = most ** (1 / (costs.shape[1] - 1))
    grid = np.floor((costs - low) / np.where(span > 0, span, 1) * cells).astype(np.int64)
    _, first = np.unique(grid, axis=0, return_index=True)
    return np.unique(np.concatenate([first, costs.argmin(axis=0)]))


def farthest_first(places: FloatArray, count: int, *, taken: Sequence[int] = ()) -> list[int]:
    """Return indices that spread over ``places``: each is as far as can be from all before it.

    Args:
        places: Shape (points, dimensions), in units in which distances compare.
        count: How many to return; fewer if there are not so many different places.
        taken: Indices that are there already, and are not returned.

    References:
        Gonzalez (1985), Clustering to minimize the maximum intercluster distance.
    """
    distances = np.full(len(places), np.inf)
    for index in taken:
        distances = np.minimum(distances, np.linalg.norm(places - places[index], axis=1))
    chosen: list[int] = []
    while len(chosen) < min(count, len(places)):
        following = int(distances.argmax())
        if not distances[following] > 0:
            break
        chosen.append(following)
        distances = np.minimum(distances, np.linalg.norm(places - places[following], axis=1))
    return chosen
