"""How trials fail, and how a search ends."""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.search import driver
from paretune.search.events import TrialEnded
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import (
    ConfigurationError,
    Infeasible,
    LimitReached,
    MeasurementFailed,
    RunError,
    TrialError,
    WorkerLost,
)
from paretune.spaces.policies.policy import Quantization
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.trial import Budget, TrialState, count_trained
from tests.fakes import (
    STEPS_PER_STAGE,
    AnalyticEvaluator,
    ThreadedService,
    raising,
    with_baseline,
)
from tests.search.problems import a_problem, own, search, stop_after


def states(ledger: MemoryLedger) -> list[TrialState]:
    return [trial.state for trial in ledger.trials()]


def failing(errors: dict[int, Exception]) -> ImmediateService:
    return ImmediateService(AnalyticEvaluator(), before=raising(errors))


# Budgets


@settings(max_examples=40, deadline=None)
@given(
    trials=st.none() | st.integers(1, 12),
    minutes=st.none() | st.floats(0.1, 20),
    steps=st.none() | st.integers(1, 1500),
    workers=st.integers(1, 3),
    stop=st.integers(2, 60),
)
def test_no_budget_is_ever_exceeded_over_all_resumptions(
    trials: int | None, minutes: float | None, steps: int | None, workers: int, stop: int
) -> None:
    budget = Budget(trials=trials, minutes=minutes, training_steps=steps)
    if trials is None and minutes is None and steps is None:
        budget = Budget(trials=3)
    problem = a_problem(budget=budget, sampler="random")
    evaluator = AnalyticEvaluator()
    ledger = with_baseline(evaluator)
    for options in ({"stop_requested": stop_after(stop)}, {}):
        service = ImmediateService(evaluator, seconds_per_trial=37.0, workers=workers)
        outcome, ledger, _ = search(problem, ledger=ledger.reopened(), service=service, **options)
    assert not outcome.interrupted
    complete = [trial for trial in own(ledger) if trial.measurement is not None]
    assert trials is None or count_trained(complete) <= trials
    assert steps is None or sum(trial.measurement.training_steps for trial in complete) <= steps
    assert minutes is None or ledger.seconds_searched() <= 60 * minutes + 1e-6
    assert TrialState.RUNNING not in states(ledger)


def test_what_a_trial_may_spend_is_passed_on() -> None:
    service = ImmediateService(AnalyticEvaluator(), seconds_per_trial=30.0)
    budget = Budget(trials=3, minutes=2, training_steps=1000)
    search(a_problem(budget=budget, trial_seconds=45.0), service=service)
    limits = [limit for _, _, limit in service.submitted]
    assert limits[:4] == [Limit(seconds=45.0, training_steps=left) for left in (1000, 1000, 960)] + [
        Limit(seconds=30.0, training_steps=840)
    ]


def test_a_trial_that_runs_out_of_the_runs_steps_is_interrupted_and_a_raised_budget_finishes_it() -> None:
    # int8 trains nothing, int8_qat one stage, the next reference three
    short = Budget(training_steps=STEPS_PER_STAGE + 1)
    outcome, ledger, _ = search(a_problem(budget=short))
    assert outcome.reason == "41 training steps"
    assert states(ledger)[1:] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.INTERRUPTED]
    service = ImmediateService(AnalyticEvaluator())
    outcome, ledger, _ = search(a_problem(budget=short), ledger=ledger.reopened(), service=service)
    assert (outcome.reason, service.submitted) == ("41 training steps", [])
    outcome, ledger, _ = search(a_problem(budget=Budget(training_steps=160)), ledger=ledger.reopened())
    assert states(ledger)[3] is TrialState.COMPLETE
    assert own(ledger)[2].reason == ""


def test_minutes_that_run_out_interrupt_what_is_in_flight() -> None:
    service = ThreadedService(AnalyticEvaluator(), workers=2, delay_seconds=lambda candidate: 60.0)
    service_limits_ignored = IgnoresLimits(service)
    started = time.monotonic()
    problem = a_problem(budget=Budget(minutes=0.2 / 60))
    outcome, ledger, _ = search(problem, service=service_limits_ignored)
    assert outcome.reason == "0.00333333 minutes"
    assert time.monotonic() - started < 5
    assert states(ledger)[1:] == [TrialState.INTERRUPTED] * 2
    assert all(future.cancelled() for future in service.futures)
    assert 0.2 <= ledger.seconds_searched() < 5


class IgnoresLimits:
    """A service whose trials do not stop by themselves."""

    def __init__(self, service: ThreadedService) -> None:
        self._service = service
        self.workers = service.workers

    def submit(self, candidate: Candidate, rung: Rung, limit: Limit) -> Any:
        return self._service.submit(candidate, rung, Limit())


def test_seconds_add_up_over_resumptions() -> None:
    ledger = with_baseline(AnalyticEvaluator())
    problem = a_problem(budget=Budget(minutes=10, trials=100))
    for trials in (2, 4):
        service = ImmediateService(AnalyticEvaluator(), seconds_per_trial=20.0)
        problem = a_problem(budget=Budget(minutes=10, trials=trials))
        _, ledger, _ = search(problem, ledger=ledger.reopened(), service=service)
    assert ledger.seconds_searched() == pytest.approx(20.0 * len(own(ledger)))
    service = ImmediateService(AnalyticEvaluator(), seconds_per_trial=20.0)
    outcome, ledger, _ = search(a_problem(budget=Budget(minutes=3)), ledger=ledger.reopened(), service=service)
    assert outcome.reason == "3 minutes"
    assert ledger.seconds_searched() == pytest.approx(180.0)


def test_a_space_in_which_nothing_trains_ends_too() -> None:
    choices = {"sparsity": (0.0,), "clusters": (None,), "quantization": (Quantization.FLOAT32, Quantization.INT8)}
    evaluator = AnalyticEvaluator()
    outcome, ledger, _ = search(a_problem(evaluator, choices=choices, budget=Budget(trials=2)), evaluator=evaluator)
    assert outcome.reason == "2 trials (10 more needed no training)"
    assert len(own(ledger)) == 10


# Failures


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Infeasible("loss became NaN\nin stage prune"), "loss became NaN in stage prune"),
        (WorkerLost("the worker was killed by signal 9"), "the worker was killed by signal 9"),
        (TrialError(), "TrialError"),
        (LimitReached("took too long"), "not done within the deadline of a trial of 50 seconds"),
    ],
)
def test_a_trial_fails_alone_and_says_why(error: Exception, reason: str) -> None:
    service = failing({2: error})
    outcome, ledger, events = search(a_problem(budget=Budget(trials=6), trial_seconds=50.0), service=service)
    failed = ledger.trials()[3]
    assert (failed.state, failed.reason) == (TrialState.FAILED, reason)
    assert outcome.reason == "6 trials"
    assert states(ledger).count(TrialState.FAILED) == 1
    assert any(isinstance(event, TrialEnded) and event.trial == failed for event in events)
    candidates = [candidate.policy.digest for candidate in service.trained]
    assert len(candidates) == len(set(candidates))


def test_a_trial_beyond_its_own_deadline_fails_even_when_the_run_has_limits_too() -> None:
    service = ImmediateService(AnalyticEvaluator(), seconds_per_trial=60.0)
    problem = a_problem(budget=Budget(minutes=5, training_steps=1000), trial_seconds=50.0)
    _, ledger, _ = search(problem, service=service)
    assert {trial.state for trial in own(ledger)[:5]} == {TrialState.FAILED}


def test_a_failed_measurement_is_tried_once_more() -> None:
    service = failing({1: MeasurementFailed("the interpreter crashed")})
    _, ledger, _ = search(a_problem(), service=service)
    assert ledger.trials()[2].state is TrialState.COMPLETE
    assert service.trained[1] == service.trained[2]
    service = failing({1: MeasurementFailed("crashed"), 2: MeasurementFailed("crashed again")})
    _, ledger, _ = search(a_problem(), service=service)
    assert ledger.trials()[2].state is TrialState.FAILED
    assert ledger.trials()[2].reason == "measuring failed twice: crashed again"
    assert service.trained[1] == service.trained[2] != service.trained[3]


def test_a_bug_stops_the_search_loudly_and_keeps_the_rest() -> None:
    ledger = with_baseline(AnalyticEvaluator())
    with pytest.raises(KeyError, match="a bug indeed"):
        search(a_problem(), ledger=ledger, service=failing({2: KeyError("a bug indeed")}))
    assert states(ledger)[1:] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.INTERRUPTED]
    assert "KeyError" in ledger.trials()[3].reason


def test_a_bug_cancels_what_else_is_in_flight() -> None:
    blocked = threading.Event()

    def before(candidate: Candidate, rung: Rung) -> None:
        if any(decided.sparsity > 0 for decided in candidate.policy.values()):
            raise ZeroDivisionError
        blocked.wait(0.05)

    service = ThreadedService(AnalyticEvaluator(), workers=3, before=before, delay_seconds=lambda candidate: 60.0)
    ledger = with_baseline(AnalyticEvaluator())
    with pytest.raises(ZeroDivisionError):
        search(a_problem(), ledger=ledger, service=service)
    assert states(ledger)[1:] == [TrialState.INTERRUPTED] * 3


def test_a_missing_value_is_a_bug() -> None:
    class Forgetful(AnalyticEvaluator):
        def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
            measurement = super().evaluate(candidate, rung, limit)
            return Measurement(values={"accuracy": measurement.values["accuracy"]})

    ledger = with_baseline(AnalyticEvaluator())
    with pytest.raises(RuntimeError, match="did not measure size_bytes, latency_ratio"):
        search(a_problem(), ledger=ledger, service=ImmediateService(Forgetful()))
    assert states(ledger)[1:] == [TrialState.INTERRUPTED]


def test_a_service_that_cannot_be_reached_leaves_no_trial_running() -> None:
    class Broken(ImmediateService):
        def submit(self, candidate: Candidate, rung: Rung, limit: Limit) -> Any:
            raise OSError("no such process")

    ledger = with_baseline(AnalyticEvaluator())
    with pytest.raises(OSError, match="no such process"):
        search(a_problem(), ledger=ledger, service=Broken(AnalyticEvaluator()))
    assert states(ledger)[1:] == [TrialState.INTERRUPTED]


def test_a_full_disk_stops_the_search_and_keeps_what_was_written() -> None:
    ledger = with_baseline(AnalyticEvaluator())

    def fill(candidate: Candidate, rung: Rung) -> None:
        ledger.disk_is_full = len(ledger.trials()) == 4

    with pytest.raises(RunError, match="no space left"):
        search(a_problem(), ledger=ledger, service=ImmediateService(AnalyticEvaluator(), before=fill))
    assert states(ledger)[1:] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.INTERRUPTED]
    ledger.disk_is_full = False
    outcome, ledger, _ = search(a_problem(), ledger=ledger.reopened())
    assert outcome.reason == "8 trials"
    assert set(states(ledger)) == {TrialState.COMPLETE}


def test_a_search_in_which_every_trial_fails_gives_up() -> None:
    def fail(candidate: Candidate, rung: Rung) -> None:
        raise Infeasible("no training data fits in memory")

    ledger = with_baseline(AnalyticEvaluator())
    with pytest.raises(RunError, match="20 trials in a row failed, the last: no training data fits in memory"):
        search(a_problem(), ledger=ledger, service=ImmediateService(AnalyticEvaluator(), before=fail))
    assert states(ledger).count(TrialState.FAILED) == 20


# Stopping


def test_a_search_that_is_told_to_stop_cancels_what_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "SECONDS_BETWEEN_LOOKS", 0.01)
    service = ThreadedService(AnalyticEvaluator(), workers=2, delay_seconds=lambda candidate: 60.0)
    outcome, ledger, events = search(a_problem(), service=service, stop_requested=stop_after(12))
    assert outcome.interrupted
    assert states(ledger)[1:] == [TrialState.INTERRUPTED] * 2
    assert {trial.reason for trial in own(ledger)} == {"the search was told to stop"}
    assert all(future.cancelled() for future in service.futures)
    assert [event.trial.state for event in events if isinstance(event, TrialEnded)] == [TrialState.INTERRUPTED] * 2


@dataclass
class LateService(ImmediateService):
    """Answers only when ``finish`` is called."""

    waiting: list[tuple[Future[Measurement], Candidate]] = field(default_factory=list)

    def submit(self, candidate: Candidate, rung: Rung, limit: Limit) -> Future[Measurement]:
        future: Future[Measurement] = Future()
        self.waiting.append((future, candidate))
        return future

    def finish(self) -> None:
        future, candidate = self.waiting[0]
        future.set_result(self.evaluator.evaluate(candidate, Rung.FULL, Limit()))


def test_a_trial_that_has_just_finished_is_kept_when_the_search_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "SECONDS_BETWEEN_LOOKS", 0.01)
    service = LateService(AnalyticEvaluator(), workers=2)
    looks_while_busy = 0

    def stop_requested() -> bool:
        nonlocal looks_while_busy
        looks_while_busy += len(service.waiting) == 2
        if looks_while_busy < 2:
            return False
        service.finish()
        return True

    outcome, ledger, _ = search(a_problem(), service=service, stop_requested=stop_requested)
    assert outcome.interrupted
    assert states(ledger)[1:] == [TrialState.COMPLETE, TrialState.INTERRUPTED]


def test_the_time_searched_is_written_every_few_seconds_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = with_baseline(AnalyticEvaluator())
    written: list[float] = []
    monkeypatch.setattr(ledger, "add_seconds_searched", written.append)
    service = ImmediateService(AnalyticEvaluator(), seconds_per_trial=1.0)
    search(a_problem(budget=Budget(minutes=0.2)), ledger=ledger, service=service)
    assert written == pytest.approx([6.0, 6.0])


def test_a_search_told_to_stop_at_once_tries_nothing() -> None:
    outcome, ledger, _ = search(a_problem(), stop_requested=lambda: True)
    assert outcome.interrupted
    assert own(ledger) == []


def test_what_the_user_can_mend_is_not_called_a_bug() -> None:
    ledger = with_baseline(AnalyticEvaluator())
    wrong = ConfigurationError("The optimizer 'sgd' does not take these arguments.")
    with pytest.raises(ConfigurationError, match="does not take"):
        search(a_problem(), ledger=ledger, service=failing({2: wrong}))
    assert [trial.reason for trial in ledger.trials() if trial.state is TrialState.INTERRUPTED] == [str(wrong)]
