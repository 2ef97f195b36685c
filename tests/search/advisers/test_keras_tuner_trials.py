from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from paretune.search.advisers.keras_tuner_trials import OracleTrial, oracle_trials, scalar_cost
from paretune.search.front import reference_point, values_of
from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.results.trial import Trial, TrialState
from tests.fakes import ACCURACY, SIZE, AnalyticEvaluator, with_baseline
from tests.search.problems import a_problem, at_most

BASELINE = with_baseline(AnalyticEvaluator()).trials()[0]
REFERENCE = reference_point(values_of(BASELINE), (ACCURACY, SIZE))
#: What a trial of some policy measures, unless a test says otherwise: half way to the reference point by either
#: objective, once a file of half the size is known.
GOOD = {"accuracy": 0.857, "size_bytes": values_of(BASELINE)["size_bytes"] * 0.5}


def the_problem(**settings: Any) -> SearchProblem:
    return a_problem(objectives=(ACCURACY, SIZE), **settings)


def a_trial(values: Mapping[str, float] = GOOD, *, unclean: bool = False, **changed: Any) -> Trial:
    """Return trial 1, complete."""
    evaluator = AnalyticEvaluator(unclean=lambda policy: unclean)
    policy, choice = the_problem().space.nearest(LayerPolicy(sparsity=0.5, clusters=16))
    opened = with_baseline(evaluator).open_trial(
        candidate=the_problem().candidate(policy), rung=Rung.FULL, origin="tried", parameters=choice
    )
    measurement = evaluator.evaluate(opened.candidate, Rung.FULL, Limit())
    measurement = replace(measurement, values={**measurement.values, **values})
    return replace(opened, **{"state": TrialState.COMPLETE, "measurement": measurement, **changed})


def told(trial: Trial, problem: SearchProblem | None = None, weights: tuple[float, float] = (0.5, 0.5)) -> OracleTrial:
    """Return how a trial is told beside the baseline."""
    baseline, found = oracle_trials([BASELINE, trial], problem or the_problem(), weights)
    assert baseline.status == "COMPLETED"
    return found


@pytest.mark.parametrize(
    ("costs", "weights", "expected"),
    [
        ((0.0, 0.0), (0.5, 0.5), 0.0),
        ((1.0, 1.0), (0.5, 0.5), 0.5 + 0.05),
        ((1.0, 0.0), (0.8, 0.2), 0.8 + 0.04),
        ((0.0, 1.0), (0.8, 0.2), 0.2 + 0.01),
        ((1.0, 0.5), (0.0, 1.0), 0.5 + 0.025),
        ((1e9, 0.0), (0.5, 0.5), 1.0 + 0.05),
    ],
)
def test_the_cost_is_the_largest_weighted_way_and_a_little_of_all(
    costs: tuple[float, float], weights: tuple[float, float], expected: float
) -> None:
    found = scalar_cost([10 + 2 * cost for cost in costs], ideal=(10, 10), reference=(12, 12), weights=weights)
    assert found == pytest.approx(expected)


def test_costs_are_scaled_from_the_best_so_far_to_the_reference_point() -> None:
    # log2(1.1) and 1 halving from the reference point down to the best; the accuracy's best is the baseline's
    by_size, by_accuracy = told(a_trial(), weights=(0.0, 1.0)), told(a_trial(), weights=(1.0, 0.0))
    assert by_size.cost == 0.0
    way = (values_of(BASELINE)["accuracy"] - GOOD["accuracy"]) / (
        values_of(BASELINE)["accuracy"] - REFERENCE["accuracy"]
    )
    assert by_accuracy.cost == pytest.approx(1.05 * way, abs=0.01)


@pytest.mark.parametrize(("weights", "better"), [((0.9, 0.1), "accurate"), ((0.1, 0.9), "small")])
def test_other_weights_prefer_other_trials(weights: tuple[float, float], better: str) -> None:
    accurate, small = a_trial({**GOOD, "accuracy": 0.97}), a_trial({**GOOD, "size_bytes": 3000.0}, number=2)
    _, first, second = oracle_trials([BASELINE, accurate, small], the_problem(), weights)
    assert first.cost is not None
    assert second.cost is not None
    assert better == ("accurate" if first.cost < second.cost else "small")


def test_what_breaks_a_bound_costs_more_than_anything_that_keeps_it_and_the_more_it_breaks_the_more() -> None:
    limits = the_problem(constraints=[at_most(5)])
    trials = [
        a_trial({"accuracy": 0.98, "size_bytes": 5000.0}),
        a_trial({"accuracy": 0.1, "size_bytes": 4999.0}, number=2),
        a_trial({"accuracy": 0.98, "size_bytes": 5001.0}, number=3),
        a_trial({"accuracy": 0.98, "size_bytes": 6000.0}, number=4),
        a_trial(state=TrialState.REFUSED, measurement=None, number=5),
        a_trial({"accuracy": 0.98, "size_bytes": 5000.0}, number=6, unclean=True),
    ]
    costs = [told.cost for told in oracle_trials([BASELINE, *trials], limits, (0.9, 0.1))[1:]]
    assert None not in costs
    assert costs == sorted(costs, key=lambda cost: cost or 0.0)
    assert len(set(costs)) == len(costs)


@pytest.mark.parametrize(
    ("state", "status", "cost"),
    [
        (TrialState.REFUSED, "COMPLETED", 0.5),
        (TrialState.FAILED, "FAILED", None),
        (TrialState.RUNNING, "RUNNING", None),
    ],
)
def test_trials_without_numbers_are_told_by_their_state(state: TrialState, status: str, cost: float | None) -> None:
    found = told(a_trial(state=state, measurement=None))
    assert (found.status, found.cost) == (status, cost)


@pytest.mark.parametrize("changed", [{"state": TrialState.INTERRUPTED}, {"rung": Rung.SHORT}])
def test_what_has_no_say_at_this_rung_is_not_told(changed: dict[str, Any]) -> None:
    assert len(oracle_trials([BASELINE, a_trial(**changed)], the_problem(), (0.5, 0.5))) == 1


def test_a_policy_that_the_choices_cannot_express_is_not_told() -> None:
    narrow = the_problem(choices={"sparsity": (0.0, 0.9)})
    assert len(oracle_trials([BASELINE, a_trial(parameters={})], narrow, (0.5, 0.5))) == 1


def test_nothing_is_told_before_the_baseline_is_known() -> None:
    assert oracle_trials([a_trial()], the_problem(), (0.5, 0.5)) == []
