import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.search.additive.knapsack import additive_front, farthest_first
from paretune.search.front import FloatArray, non_dominated

#: Whole numbers, so that sums are equal in whatever order they are added up.
FINITE = st.integers(0, 12).map(float)


@st.composite
def problems(draw: st.DrawFn, costs: int) -> list[FloatArray]:
    """Draw the options of up to 4 units; the first of each can be taken."""
    options = st.lists(st.tuples(*[FINITE | st.just(math.inf)] * costs), max_size=4)
    units = draw(st.lists(st.tuples(st.tuples(*[FINITE] * costs), options), min_size=1, max_size=4))
    return [np.array([first, *others]) for first, others in units]


def front_of_all_combinations(units: list[FloatArray]) -> set[tuple[float, ...]]:
    sums = np.array([np.sum(rows, axis=0) for rows in itertools.product(*units)])
    finite = sums[np.isfinite(sums).all(axis=1)]
    return {tuple(row) for row in finite[non_dominated(finite)].tolist()}


def sums_of(units: list[FloatArray], options: object) -> FloatArray:
    rows = np.asarray(options)
    return np.asarray(np.sum([unit[rows[:, number]] for number, unit in enumerate(units)], axis=0))


@pytest.mark.parametrize("costs", [2, 3])
@given(data=st.data())
def test_the_front_is_that_of_all_combinations(costs: int, data: st.DataObject) -> None:
    units = data.draw(problems(costs))
    front = additive_front(units)
    assert front.is_exact
    assert {tuple(row) for row in front.costs.tolist()} == front_of_all_combinations(units)
    assert len(front) == len(np.unique(front.costs, axis=0))
    assert (np.diff(front.costs[:, 0]) >= 0).all()
    assert (sums_of(units, front.options) == front.costs).all()


@given(units=problems(2), most=st.integers(2, 6))
def test_a_thinned_front_is_attainable_and_called_exact_only_if_nothing_was_left_out(
    units: list[FloatArray], most: int
) -> None:
    front = additive_front(units, most_sums=most)
    assert (sums_of(units, front.options) == front.costs).all()
    assert non_dominated(front.costs).all()
    if front.is_exact:
        assert {tuple(row) for row in front.costs.tolist()} == front_of_all_combinations(units)


def many_units(costs: int) -> list[FloatArray]:
    """Return more combinations than could be gone through, of which many are on the front."""
    rng = np.random.default_rng(costs)
    return [np.sort(rng.random((8, costs)), axis=0) * [1.0, -1.0, 1.0][:costs] for _ in range(12)]


@pytest.mark.parametrize(("costs", "most"), [(2, 40), (3, 60)])
def test_thinning_keeps_the_extremes_of_every_cost(costs: int, most: int) -> None:
    units = many_units(costs)
    front = additive_front(units, most_sums=most)
    assert not front.is_exact
    least = np.sum([unit.min(axis=0) for unit in units], axis=0)
    assert front.costs.min(axis=0) == pytest.approx(least)


def test_a_thinned_front_is_near_the_exact_one() -> None:
    units = many_units(2)[:7]
    exact, thinned = additive_front(units, most_sums=10**6), additive_front(units, most_sums=40)
    assert exact.is_exact
    # a staircase through a grid of 40 by 40 meets no more cells
    assert len(thinned) <= 80 < len(exact)
    gaps = np.abs((exact.costs[:, None, :] - thinned.costs[None, :, :]) / np.ptp(exact.costs, axis=0))
    assert gaps.max(axis=2).min(axis=1).max() < 0.1


def test_what_cannot_be_decided_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least one unit"):
        additive_front([])
    with pytest.raises(ValueError, match="unit 1 has no option that can be taken"):
        additive_front([np.zeros((2, 2)), np.array([[0.0, np.inf], [np.inf, 0.0]])])


PLACES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(places=PLACES, count=st.integers(0, 14), data=st.data())
def test_each_of_the_farthest_is_as_far_as_can_be_from_all_before_it(
    places: list[tuple[int, int]], count: int, data: st.DataObject
) -> None:
    taken = data.draw(st.lists(st.integers(0, len(places) - 1), max_size=3))
    chosen = farthest_first(np.array(places, dtype=float), count, taken=taken)

    def distance(index: int, there: list[int]) -> float:
        return min((math.dist(places[index], places[other]) for other in there), default=math.inf)

    for turn, index in enumerate(chosen):
        before = [*taken, *chosen[:turn]]
        assert distance(index, before) == max(distance(other, before) for other in range(len(places))) > 0
    left = {places[index] for index in range(len(places))} - {places[index] for index in taken}
    assert len(chosen) == min(count, len(left))
