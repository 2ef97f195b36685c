from typing import Any

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.search.front import FloatArray
from paretune.search.learning.improvement import expected_improvement
from paretune.search.learning.prediction import Prediction

#: Beyond the reference point too, and often equal to one another.
COSTS = st.integers(-8, 12).map(lambda number: number / 4)
REFERENCE = [2.0, 2.0, 2.0]


def rows_of(count: int, **sizes: Any) -> st.SearchStrategy[list[tuple[float, ...]]]:
    return st.lists(st.tuples(*[COSTS] * count), **sizes)


def certain(points: Any) -> Prediction:
    mean = np.array(points, dtype=float)
    return Prediction(mean, np.zeros_like(mean))


def volume(points: Any, reference: FloatArray) -> float:
    rows = np.array(points, dtype=float).reshape(-1, len(reference))
    return float(moocore.hypervolume(rows, ref=reference)) if len(rows) else 0.0


@pytest.mark.parametrize("objectives", [2, 3])
@given(data=st.data())
def test_what_is_certain_gains_the_difference_of_two_hypervolumes(objectives: int, data: st.DataObject) -> None:
    front = data.draw(rows_of(objectives, max_size=6))
    points = data.draw(rows_of(objectives, min_size=1, max_size=4))
    reference = np.array(REFERENCE[:objectives])
    gains = expected_improvement(certain(points), np.array(front).reshape(-1, objectives), reference)
    expected = [volume([*front, point], reference) - volume(front, reference) for point in points]
    assert gains == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("point", [(1.0, 1.0), (1.5, 1.0), (1.0, 2.5), (2.5, -1.0)])
def test_nothing_is_gained_behind_the_front_or_beyond_the_reference_point(point: tuple[float, float]) -> None:
    front = np.array([(0.0, 1.5), (1.0, 1.0)])
    assert expected_improvement(certain([point]), front, np.array([2.0, 2.0])) == [0.0]


@pytest.mark.parametrize("objectives", [2, 3])
def test_an_uncertain_metric_gains_the_mean_over_what_it_may_become(objectives: int) -> None:
    front = np.array([(0.0, 1.5, 1.0), (1.0, 1.0, 0.5), (1.6, -0.5, 1.0)])[:, :objectives]
    mean, deviation = np.array([(0.5, 1.2, 0.6), (1.8, 0.4, 0.2)])[:, :objectives], 0.4
    reference = np.array(REFERENCE[:objectives])
    draws = np.random.default_rng(0).normal(0, deviation, 4000)
    expected = [
        np.mean([volume([*front, point + np.eye(objectives)[0] * off], reference) for off in draws])
        - volume(front, reference)
        for point in mean
    ]
    guess = Prediction(mean, np.full_like(mean, deviation))
    assert expected_improvement(guess, front, reference) == pytest.approx(expected, rel=0.1)


def test_behind_the_front_only_what_is_uncertain_may_gain() -> None:
    front, reference = np.array([(0.0, 0.0)]), np.array([2.0, 2.0])
    behind = Prediction(np.array([(0.5, 0.0)] * 2), np.array([(0.5, 0.0), (0.0, 0.0)]))
    uncertain, known = expected_improvement(behind, front, reference)
    assert uncertain > known == 0.0
