import subprocess
import sys
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretune.search.front import (
    find_front,
    hypervolume,
    hypervolume_history,
    non_dominated,
    pick,
    reference_point,
    values_of,
)
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.results.measurement import Fidelity, LayerFidelity, Measurement
from paretune.spaces.results.objective import Bound, Constraint, Direction, Objective
from paretune.spaces.results.trial import Trial, TrialState
from tests.fakes import ACCURACY, LATENCY, SIZE

OBJECTIVES = (ACCURACY, SIZE)
BASELINE = MappingProxyType({"accuracy": 0.98, "size_bytes": 100_000.0, "latency_ratio": 1.0})


def a_trial(number: int, accuracy: float = 0.9, size: float = 1000.0, latency: float = 1.0, **changed: Any) -> Trial:
    """Return a complete trial of a policy of its own."""
    policy = Policy((("conv", LayerPolicy(sparsity=(number + 1) / 1000)),))
    values = {"accuracy": accuracy, "size_bytes": size, "latency_ratio": latency}
    trial = Trial(
        number=number,
        candidate=Candidate(architecture="a", recipe=Recipe(), policy=policy),
        rung=Rung.FULL,
        state=TrialState.COMPLETE,
        origin="tpe",
        measurement=Measurement(values=values, training_steps=10),
    )
    return replace(trial, **changed)


def unclean(trial: Trial) -> Trial:
    """Return the trial with a file that lost its zeros."""
    layer = LayerFidelity(
        layer="conv",
        requested=LayerPolicy(),
        weights=10,
        zeros=0,
        rounding_zeros=0,
        distinct=10,
        distinct_scope="tensor",
        stored_as="int8",
        faults=("lost its zeros",),
    )
    assert trial.measurement is not None
    return replace(trial, measurement=replace(trial.measurement, fidelity=Fidelity((layer,))))


def numbers(trials: list[Trial], objectives: tuple[Objective, ...] = OBJECTIVES, *constraints: Constraint) -> list[int]:
    front = find_front(trials, objectives, constraints, BASELINE)
    return [trial.number for trial in front.trials]


costs_of_any_shape = st.tuples(st.integers(0, 30), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 6).map(float))
)


@given(costs_of_any_shape)
def test_non_dominated_agrees_with_its_definition(costs: np.ndarray) -> None:
    oracle = [not any((other <= row).all() and (other < row).any() for other in costs) for row in costs]
    assert non_dominated(costs).tolist() == oracle


@pytest.mark.parametrize("costs", [np.zeros(3), np.array([[1.0, np.nan]]), np.array([[np.inf, 1.0]])])
def test_non_dominated_takes_finite_tables_only(costs: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite array"):
        non_dominated(costs)


points = st.lists(
    st.tuples(st.integers(0, 40).map(lambda n: n / 4000 + 0.9), st.integers(1, 30).map(float)), max_size=25
)


@given(points)
def test_the_front_is_what_nothing_beats_beyond_the_tolerance(rows: list[tuple[float, float]]) -> None:
    trials = [a_trial(index + 1, accuracy, size) for index, (accuracy, size) in enumerate(rows)]
    costs = {trial.number: [o.cost(values_of(trial)[o.name]) for o in OBJECTIVES] for trial in trials}
    found = numbers(trials)
    for trial in trials:
        beaten = any(
            all(a <= b for a, b in zip(costs[other], costs[trial.number], strict=True))
            and costs[other] != costs[trial.number]
            for other in costs
        )
        same = [other for other in found if costs[other] == costs[trial.number]]
        assert len(same) == (0 if beaten else 1)


@given(points, st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order_of_the_trials(rows: list[tuple[float, float]], draws: Any) -> None:
    trials = [a_trial(index + 1, accuracy, size) for index, (accuracy, size) in enumerate(rows)]
    before = numbers(trials)
    draws.shuffle(trials)
    assert numbers(trials) == before


def test_a_tie_within_the_tolerance_goes_to_the_better_values_and_then_to_the_earlier_trial() -> None:
    assert numbers([a_trial(1, 0.9001), a_trial(2, 0.9004), a_trial(3, 0.9004)]) == [2]
    objectives = (ACCURACY, SIZE, LATENCY)
    assert numbers([a_trial(1, latency=1.01), a_trial(2, latency=1.0)], objectives) == [2]


def test_what_is_not_a_clean_finished_full_trial_is_never_on_the_front() -> None:
    good = a_trial(1, 0.99, 10.0)
    for state in TrialState:
        if state is not TrialState.COMPLETE:
            assert numbers([replace(good, state=state), a_trial(2)]) == [2]
    assert numbers([replace(good, rung=Rung.SHORT), a_trial(2)]) == [2]
    assert numbers([unclean(good), a_trial(2)]) == [2]


def test_the_baseline_is_shown_beside_the_front_and_not_in_it() -> None:
    baseline = a_trial(0, 0.99, 10.0, origin="baseline")
    untouched = Policy((("conv", LayerPolicy()),))
    again = replace(a_trial(1, 0.99, 10.0), candidate=replace(baseline.candidate, policy=untouched))
    front = find_front([baseline, again, a_trial(2)], OBJECTIVES, (), BASELINE)
    assert front.baseline == baseline
    assert [trial.number for trial in front.trials] == [2]


def test_a_constraint_keeps_trials_off_the_front_even_one_on_what_is_not_optimised() -> None:
    trials = [a_trial(1, 0.95, 900.0, latency=1.5), a_trial(2, 0.90, 800.0, latency=1.0), a_trial(3, 0.5, 10.0)]
    slow = Constraint(objective="latency_ratio", bound=Bound.MAX, value=1.2)
    assert numbers(trials, OBJECTIVES, slow) == [3, 2]
    assert numbers(trials, OBJECTIVES, Constraint(objective="accuracy", bound=Bound.DROP, value=0.05)) == [1]
    with pytest.raises(ConfigurationError, match="Did you mean 'latency_ratio'"):
        numbers(trials, OBJECTIVES, replace(slow, objective="latency_ratoi"))


def test_a_bound_is_met_by_a_value_that_equals_it_but_for_rounding() -> None:
    drop = Constraint(objective="accuracy", bound=Bound.DROP, value=0.05)
    assert 0.52 - 0.05 > 0.47
    assert find_front([a_trial(1, 0.47)], OBJECTIVES, (drop,), {"accuracy": 0.52}).trials


def test_points_come_smallest_first() -> None:
    assert numbers([a_trial(1, 0.9, 300.0), a_trial(2, 0.8, 200.0), a_trial(3, 0.7, 100.0)]) == [3, 2, 1]


def knee(trials: list[Trial], objectives: tuple[Objective, ...] = OBJECTIVES) -> int | None:
    found = find_front(trials, objectives, (), BASELINE)
    assert sum(point.knee for point in found.points) == bool(found.points)
    return found.knee.number if found.knee is not None else None


def test_the_knee_is_the_point_nearest_the_ideal_with_sizes_by_their_logarithm() -> None:
    ends = [a_trial(1, 0.99, 10_000.0), a_trial(2, 0.79, 100.0)]
    # by differences of bytes, trial 4 would be nearer: its 3,000 bytes are a third of the way
    assert knee([*ends, a_trial(3, 0.90, 1000.0), a_trial(4, 0.95, 3000.0)]) == 3
    assert knee([*ends, a_trial(3, 0.86, 1000.0), a_trial(4, 0.955, 2000.0)]) == 4


def test_a_single_point_is_its_own_knee_and_an_empty_front_has_none() -> None:
    assert knee([a_trial(1)]) == 1
    assert knee([]) is None


def test_a_tie_for_the_knee_goes_to_the_better_metric() -> None:
    assert knee([a_trial(1, 0.99, 10_000.0), a_trial(2, 0.79, 100.0)]) == 1


FRONT = find_front(
    [a_trial(1, 0.97, 900.0, 1.3), a_trial(2, 0.94, 300.0, 1.0), a_trial(3, 0.80, 100.0, 1.1)],
    (ACCURACY, SIZE, LATENCY),
    (),
    BASELINE,
)


@pytest.mark.parametrize(
    ("how", "number"), [("knee", 2), ("smallest", 3), ("most-accurate", 1), ("fastest", 2), (3, 3), ("1", 1)]
)
def test_pick_finds_what_is_asked_for(how: str | int, number: int) -> None:
    assert pick(FRONT, how).number == number


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (9, "Trial 9 is not on the front; on it are 1, 2, 3."),
        ("17", "Trial 17 is not on the front; on it are 1, 2, 3."),
        ("most_acurate", "Did you mean 'most-accurate'?"),
    ],
)
def test_pick_tells_what_is_on_the_front(how: str | int, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pick(FRONT, how)
    assert said in str(caught.value)


def test_nothing_can_be_picked_from_an_empty_front() -> None:
    with pytest.raises(ConfigurationError, match="The front is empty"):
        pick(find_front([], OBJECTIVES, (), BASELINE), "knee")


def test_the_reference_point_follows_from_the_baseline_alone() -> None:
    error = Objective(name="mae", direction=Direction.MINIMIZE)
    values = {**BASELINE, "mae": 0.0}
    reference = reference_point(values, (ACCURACY, SIZE, LATENCY, error))
    assert reference == pytest.approx({"accuracy": 0.735, "size_bytes": 110_000.0, "latency_ratio": 2.0, "mae": 1.0})


def test_hypervolume_counts_sizes_in_halvings() -> None:
    reference = {"accuracy": 0.7, "size_bytes": 1000.0}
    assert hypervolume([], reference, OBJECTIVES) == 0.0
    one = hypervolume([{"accuracy": 0.9, "size_bytes": 250.0}], reference, OBJECTIVES)
    assert one == pytest.approx(0.2 * 2)
    both = [{"accuracy": 0.9, "size_bytes": 500.0}, {"accuracy": 0.8, "size_bytes": 125.0}]
    assert hypervolume(both, reference, OBJECTIVES) == pytest.approx(0.2 * 1 + 0.1 * 2)


def test_a_point_no_better_than_the_reference_adds_nothing() -> None:
    reference = {"accuracy": 0.7, "size_bytes": 1000.0}
    assert hypervolume([{"accuracy": 0.6, "size_bytes": 1.0}], reference, OBJECTIVES) == 0.0


@settings(max_examples=40)
@given(points)
def test_the_history_never_falls_and_ends_at_the_volume_of_the_front(rows: list[tuple[float, float]]) -> None:
    trials = [a_trial(index + 1, accuracy, size) for index, (accuracy, size) in enumerate(rows)]
    history = hypervolume_history(trials, OBJECTIVES, (), BASELINE)
    volumes = [volume for _, volume in history]
    assert [number for number, _ in history] == [trial.number for trial in trials]
    assert volumes == sorted(volumes)
    front = find_front(trials, OBJECTIVES, (), BASELINE)
    whole = hypervolume([values_of(trial) for trial in front.trials], reference_point(BASELINE, OBJECTIVES), OBJECTIVES)
    assert (volumes or [0.0])[-1] == pytest.approx(whole)


def test_the_history_leaves_out_what_has_not_ended() -> None:
    trials = [a_trial(1), replace(a_trial(2), state=TrialState.RUNNING), replace(a_trial(3), state=TrialState.FAILED)]
    history = hypervolume_history(trials, OBJECTIVES, (), BASELINE)
    assert [number for number, _ in history] == [1, 3]
    assert history[0][1] == history[1][1] > 0


def test_reading_a_front_loads_nothing_heavy() -> None:
    code = (
        "import sys, paretune.search.front; print([m for m in sys.modules if m in ('optuna', 'tensorflow', 'moocore')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
