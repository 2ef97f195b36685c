"""Objectives that follow from a file's operators: added up from single decisions, and searched."""

import re
from dataclasses import replace

import numpy as np
import pytest

from paretune.search.additive.encoding import Encoding
from paretune.search.additive.profile import ProfilePlan, read_profile
from paretune.search.additive.solving import solve
from paretune.search.front import find_front, values_of
from paretune.search.learning.predictor import Predictor
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.objective import ASKED_OBJECTIVES, FILE_OBJECTIVES, Bound, Constraint, Direction, Objective
from paretune.spaces.results.proxy import proxy_of
from paretune.spaces.results.trial import Budget, TrialState
from tests.fakes import ACCURACY, AnalyticEvaluator, with_baseline
from tests.search.problems import SMALL_CHOICES, a_problem, search

BITS = FILE_OBJECTIVES["bit_operations"]
ARENA = FILE_OBJECTIVES["arena_bytes"]
EVALUATOR = AnalyticEvaluator()


def lab(*objectives, choices=SMALL_CHOICES):
    problem = a_problem(EVALUATOR, choices=choices, objectives=(ACCURACY, *objectives))
    plan = ProfilePlan(Encoding(problem.space), amounts=[each.name for each in objectives])
    proxies = {}
    for policy in plan.policies():
        measured = EVALUATOR.evaluate(problem.candidate(policy), Rung.PROXY, Limit())
        proxies[policy.digest] = proxy_of("", problem.recipe, policy, measured)
    profile = read_profile(plan, proxies, "accuracy", 1)
    assert profile is not None
    predictor = Predictor(problem, plan.encoding, EVALUATOR.baseline().values)
    predictor.use_profile(profile)
    return problem, plan, profile, predictor


def measured(problem, plan, rows, name):
    return np.array(
        [
            EVALUATOR.evaluate(problem.candidate(plan.encoding.policy_of(row)), Rung.FULL, Limit()).values[name]
            for row in rows
        ]
    )


def test_operations_add_up_exactly_over_layers():
    problem, plan, _, predictor = lab(BITS)
    rows = np.random.default_rng(0).integers(plan.encoding.option_counts, size=(40, len(plan.units)))
    guess = 2 ** predictor.predict(rows).mean[:, 1]
    np.testing.assert_allclose(guess, measured(problem, plan, rows, BITS.name), rtol=1e-9)


def test_what_only_all_layers_together_save_is_shared_out_among_them():
    problem, plan, profile, predictor = lab(ARENA)
    uniform = [plan.encoding.row_of(problem.space.choice_of(policy)) for policy in plan.uniform.values()]
    guess = 2 ** predictor.predict(np.array(uniform)).mean[:, 1]
    np.testing.assert_allclose(guess, measured(problem, plan, uniform, ARENA.name), rtol=1e-6)
    assert len(solve(plan.encoding, profile, problem.objectives)) > 3  # there is something to trade


def test_without_such_objectives_nothing_more_is_measured():
    _, plan, _, _ = lab()
    assert plan.uniform == {}
    assert len(ProfilePlan(plan.encoding, amounts=["macs"]).policies()) > len(plan.policies())


def test_what_only_trained_files_are_measured_by_is_taken_as_the_baselines_until_trials_tell():
    phone = ASKED_OBJECTIVES["adb_latency_ms"]
    problem = a_problem(EVALUATOR, choices=SMALL_CHOICES)
    described = {**problem.description.objectives, phone.name: phone}
    problem = replace(
        problem, description=replace(problem.description, objectives=described), objectives=(ACCURACY, phone)
    )
    plan = ProfilePlan(Encoding(problem.space), amounts=[phone.name])
    proxies = {
        policy.digest: proxy_of(
            "", problem.recipe, policy, EVALUATOR.evaluate(problem.candidate(policy), Rung.PROXY, Limit())
        )
        for policy in plan.policies()
    }
    profile = read_profile(plan, proxies, "accuracy", 1)
    assert profile is not None
    predictor = Predictor(problem, plan.encoding, {**EVALUATOR.baseline().values, phone.name: 8.0})
    row = np.array([plan.encoding.row_of(problem.space.choice_of(plan.base))])
    for profiled in (False, True):
        if profiled:
            predictor.use_profile(profile)
        predictor.note(tuple(row[0].tolist()), proxies[plan.base.digest])
        assert predictor.predict(row).mean[0, 1] == pytest.approx(3.0)  # halvings


def test_a_settled_objective_is_known_once_it_was_measured_untrained():
    problem, plan, _, predictor = lab(ARENA)
    row = tuple(np.random.default_rng(3).integers(plan.encoding.option_counts).tolist())
    policy = plan.encoding.policy_of(row)
    predictor.note(
        row, proxy_of("", problem.recipe, policy, EVALUATOR.evaluate(problem.candidate(policy), Rung.PROXY, Limit()))
    )
    guess = predictor.predict(np.array([row]))
    assert 2 ** guess.mean[0, 1] == pytest.approx(measured(problem, plan, [row], ARENA.name)[0])
    assert guess.deviation[0, 1] < 1e-3


@pytest.mark.parametrize("objective", [BITS, ARENA], ids=lambda each: each.name)
def test_a_search_by_an_amount_finds_what_is_cheap_to_run(objective):
    problem = a_problem(
        EVALUATOR,
        objectives=(ACCURACY, objective),
        budget=Budget(trials=10),
        sampler="funnel",
        rungs=(Rung.PROXY, Rung.FULL),
    )
    ledger = with_baseline(EVALUATOR)
    search(problem, ledger, evaluator=EVALUATOR)
    trials = ledger.trials()
    front = find_front(trials, problem.objectives, (), values_of(trials[0]))
    assert any(trial.origin == "seed" for trial in trials)
    least = min(values_of(trial)[objective.name] for trial in front.trials)
    assert least <= 0.3 * values_of(trials[0])[objective.name]
    assert len(front.points) >= 2


def test_what_exceeds_a_bound_on_a_settled_objective_is_never_trained():
    bound = Constraint(objective=ARENA.name, bound=Bound.RATIO, value=0.5)
    problem = a_problem(EVALUATOR, constraints=(bound,), budget=Budget(trials=6))
    ledger = with_baseline(EVALUATOR)
    search(problem, ledger, evaluator=EVALUATOR)
    trials = ledger.trials()
    refused = [trial for trial in trials if trial.state is TrialState.REFUSED]
    assert refused
    assert all(re.fullmatch(r"arena_bytes [5-8](\.\d)? kB, at most 4 kB", trial.reason) for trial in refused)
    trained = [trial for trial in trials[1:] if trial.state is TrialState.COMPLETE]
    assert trained
    assert all(values_of(trial)[ARENA.name] <= 4000 for trial in trained)


def test_a_constraint_may_name_what_only_this_run_measures():
    boot = Objective(name="boot_ms", direction=Direction.MINIMIZE)
    trial = with_baseline(EVALUATOR).trials()[0]
    problem = a_problem(EVALUATOR)
    candidate = problem.candidate(problem.space.policy({each.name: 1 for each in problem.space.parameters}))
    measurement = EVALUATOR.evaluate(candidate, Rung.FULL, Limit())
    values = {**measurement.values, "boot_ms": 5.0}
    tried = replace(trial, candidate=candidate, origin="seed", measurement=replace(measurement, values=values))
    for most, count in ((6.0, 1), (4.0, 0)):
        bound = Constraint(objective="boot_ms", bound=Bound.MAX, value=most)
        front = find_front([tried], problem.objectives, [bound], {"boot_ms": 9.0}, {"boot_ms": boot})
        assert len(front.points) == count
