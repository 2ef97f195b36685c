"""What the search tries, in which order, and how often."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.search.driver import run_search
from paretune.search.events import SearchEvent, Ticked, TrialEnded, TrialRefused, TrialStarted
from paretune.search.front import find_front, hypervolume_history, values_of
from paretune.search.proposals.references import reference_policies
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import RunError
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import Budget, TrialState, count_trained
from tests.fakes import AnalyticEvaluator, ThreadedService, layer_specs, with_baseline
from tests.search.problems import SMALL_CHOICES, a_problem, at_least, at_most, own, search, stop_after


def policies(ledger: MemoryLedger) -> list[str]:
    return [trial.candidate.policy.digest for trial in own(ledger)]


def test_the_references_come_first_and_then_what_the_sampler_proposes() -> None:
    problem = a_problem()
    _, ledger, _ = search(problem)
    references = [proposal.policy.digest for proposal in reference_policies(problem.space)]
    assert policies(ledger)[:4] == references
    assert [trial.origin for trial in own(ledger)] == ["reference"] * 4 + ["tpe"] * (len(own(ledger)) - 4)
    for trial in own(ledger):
        assert problem.space.policy(trial.parameters) == trial.candidate.policy


def test_trials_count_once_they_have_trained() -> None:
    outcome, ledger, _ = search(a_problem(budget=Budget(trials=8)))
    assert outcome.reason == "8 trials"
    assert count_trained(own(ledger)) == 8
    # uniform int8 is among the references, and trains nothing
    assert len(own(ledger)) > 8


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_no_policy_is_evaluated_twice(workers: int) -> None:
    evaluator = AnalyticEvaluator(layers=layer_specs(2))
    problem = a_problem(evaluator, choices=SMALL_CHOICES, budget=Budget(trials=100))
    service = ImmediateService(evaluator, workers=workers)
    outcome, ledger, _ = search(problem, service=service, evaluator=evaluator)
    assert outcome.reason == "every policy of the space has been tried"
    every = {policy.digest for policy in problem.space.policies()}
    assert len(service.trained) == len({candidate.policy.digest for candidate in service.trained})
    # all but the one that leaves everything as it is, which is the baseline
    assert len(every) - 1 == len(set(policies(ledger))) == len(policies(ledger))


def test_the_same_seed_gives_the_same_policies_and_another_seed_others() -> None:
    first = policies(search(a_problem(seed=1, budget=Budget(trials=15)))[1])
    assert policies(search(a_problem(seed=1, budget=Budget(trials=15)))[1]) == first
    assert policies(search(a_problem(seed=2, budget=Budget(trials=15)))[1]) != first


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "qmc"])
@settings(max_examples=8, deadline=None)
@given(stops=st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_a_search_that_is_interrupted_and_resumed_goes_the_same_way(sampler: str, stops: list[int]) -> None:
    problem = a_problem(sampler=sampler, budget=Budget(trials=14), constraints=[at_most(9)])
    _, whole, _ = search(problem)
    ledger = with_baseline(AnalyticEvaluator())
    for stop in stops:
        _, ledger, _ = search(problem, ledger=ledger.reopened(), stop_requested=stop_after(stop))
    outcome, ledger, _ = search(problem, ledger=ledger.reopened())
    assert outcome.reason == "14 trials"
    assert [(t.candidate, t.state, t.reason, t.parameters, t.measurement) for t in ledger.trials()] == [
        (t.candidate, t.state, t.reason, t.parameters, t.measurement) for t in whole.trials()
    ]


def test_a_kill_in_the_middle_of_a_trial_costs_that_trial_a_second_start_and_nothing_else() -> None:
    problem = a_problem(budget=Budget(trials=10))
    _, whole, _ = search(problem)
    count = 0

    class Killed(BaseException):
        pass

    def die(candidate: Any, rung: Rung) -> None:
        nonlocal count
        count += 1
        if count == 6:
            raise Killed

    ledger = with_baseline(AnalyticEvaluator())
    with pytest.raises(Killed):
        search(problem, ledger=ledger, service=ImmediateService(AnalyticEvaluator(), before=die))
    assert [trial.state for trial in ledger.trials()][-1] is TrialState.INTERRUPTED
    service = ImmediateService(AnalyticEvaluator())
    search(problem, ledger=ledger.reopened(), service=service)
    assert len(service.trained) == len(own(whole)) - 5


def test_an_interrupted_trial_is_evaluated_first_and_under_its_number() -> None:
    problem = a_problem(budget=Budget(trials=6))
    ledger = with_baseline(AnalyticEvaluator())
    policy, choice = problem.space.nearest(next(iter(problem.space.smallest()[0].values())))
    candidate = problem.candidate(policy)
    trial = ledger.open_trial(candidate=candidate, rung=Rung.FULL, origin="tpe", parameters=choice)
    ledger.close_trial(replace(trial, state=TrialState.INTERRUPTED))
    service = ImmediateService(AnalyticEvaluator())
    _, ledger, _ = search(problem, ledger=ledger, service=service)
    assert service.trained[0] == candidate
    assert ledger.trials()[1].state is TrialState.COMPLETE
    assert ledger.trials()[1].number == 1


def test_a_finished_search_returns_at_once_and_a_raised_budget_goes_on() -> None:
    _, ledger, _ = search(a_problem(budget=Budget(trials=6)))
    done = list(ledger.trials())
    service = ImmediateService(AnalyticEvaluator())
    outcome, ledger, events = search(a_problem(budget=Budget(trials=6)), ledger=ledger, service=service)
    assert (outcome.reason, outcome.interrupted) == ("6 trials", False)
    assert list(ledger.trials()) == done
    assert (service.submitted, events) == ([], [])
    outcome, ledger, _ = search(a_problem(budget=Budget(trials=9)), ledger=ledger)
    assert outcome.reason == "9 trials"
    assert list(ledger.trials())[: len(done)] == done
    assert policies(ledger) == policies(search(a_problem(budget=Budget(trials=9)))[1])


def test_several_workers_are_kept_busy_and_never_overloaded() -> None:
    service = ThreadedService(AnalyticEvaluator(), workers=3, delay_seconds=lambda candidate: 0.01)
    outcome, ledger, _ = search(a_problem(budget=Budget(trials=12)), service=service)
    assert outcome.reason == "12 trials"
    assert service.most_running == 3
    assert count_trained(own(ledger)) == 12
    assert {trial.state for trial in ledger.trials()} == {TrialState.COMPLETE}


def test_trials_that_break_a_constraint_are_never_on_the_front_and_grow_rare() -> None:
    constraints = [at_least(0.9)]
    problem = a_problem(budget=Budget(trials=70), constraints=constraints)
    _, ledger, events = search(problem)
    front = [event for event in events if isinstance(event, TrialEnded)][-1].front
    assert front.trials
    assert all(values_of(trial)["accuracy"] >= 0.9 for trial in front.trials)
    infeasible = [values_of(trial)["accuracy"] < 0.9 for trial in own(ledger)]
    assert any(infeasible[:20])
    assert sum(infeasible[-20:]) <= 8


def test_trials_without_what_they_asked_for_are_complete_but_steered_away_from() -> None:
    evaluator = AnalyticEvaluator(unclean=lambda policy: policy["conv3"].sparsity > 0.4)
    _, ledger, events = search(a_problem(evaluator, budget=Budget(trials=60)), evaluator=evaluator)
    unclean = [trial.measurement is not None and not trial.measurement.fidelity.is_clean for trial in own(ledger)]
    assert {trial.state for trial in ledger.trials()} == {TrialState.COMPLETE}
    front = [event for event in events if isinstance(event, TrialEnded)][-1].front
    assert all(trial.candidate.policy["conv3"].sparsity <= 0.4 for trial in front.trials)
    assert any(unclean[:15])
    assert sum(unclean[-15:]) <= 5


def test_only_finite_values_reach_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Mapping[str, Any]] = []
    from paretune.search.advisers import optuna_trials

    original = optuna_trials.create_trial
    monkeypatch.setattr(optuna_trials, "create_trial", lambda **trial: (told.append(trial), original(**trial))[1])
    evaluator = NanEvaluator()
    with pytest.raises(ValueError, match="must be finite"):
        search(a_problem(evaluator), evaluator=evaluator)
    values = [value for trial in told for value in trial.get("values", [])]
    assert values
    assert all(value == value and abs(value) < float("inf") for value in values)


class NanEvaluator(AnalyticEvaluator):
    """Measures NaN from 70 % sparsity on, as a training that diverged would."""

    def _values(self, policy: Any, rung: Rung) -> dict[str, float]:
        values = super()._values(policy, rung)
        diverged = policy["conv0"].sparsity > 0.7
        return {**values, "accuracy": float("nan")} if diverged else values


def test_every_event_follows_the_ledger() -> None:
    ledger = with_baseline(AnalyticEvaluator())
    seen: list[SearchEvent] = []

    def notify(event: SearchEvent) -> None:
        if isinstance(event, TrialStarted | TrialEnded | TrialRefused):
            assert ledger.trials()[event.trial.number] == event.trial
        seen.append(event)

    service = ImmediateService(AnalyticEvaluator())
    problem = a_problem(budget=Budget(trials=10), constraints=[at_most(9)])
    run_search(problem, service, ledger, notify=notify, clock=service.clock)
    ended = [event for event in seen if isinstance(event, TrialEnded)]
    started = [event.trial.number for event in seen if isinstance(event, TrialStarted)]
    refused = [event.trial.number for event in seen if isinstance(event, TrialRefused)]
    assert [event.trial.number for event in ended] == started
    assert sorted(started + refused) == [trial.number for trial in own(ledger)]
    baseline = values_of(ledger.trials()[0])
    whole = find_front(ledger.trials(), problem.objectives, problem.constraints, baseline)
    assert ended[-1].front == whole
    history = dict(hypervolume_history(ledger.trials(), problem.objectives, problem.constraints, baseline))
    assert [event.hypervolume for event in ended] == pytest.approx([history[number] for number in started])
    assert [event for event in seen if isinstance(event, Ticked)][-1].trained == 10


def test_a_search_needs_a_measured_baseline() -> None:
    with pytest.raises(RunError, match="The baseline must be measured"):
        search(a_problem(), ledger=MemoryLedger())


def test_relative_constraints_refer_to_the_baseline() -> None:
    quarter = Constraint(objective="size_bytes", bound=Bound.RATIO, value=0.25)
    _, ledger, events = search(a_problem(budget=Budget(trials=12), constraints=[quarter]))
    most = 0.25 * values_of(ledger.trials()[0])["size_bytes"]
    front = [event for event in events if isinstance(event, TrialEnded)][-1].front
    assert front.trials
    assert all(values_of(trial)["size_bytes"] <= most for trial in front.trials)
