"""What is refused before training, and what cannot be satisfied at all."""

import pytest

from paretune.search.front import values_of
from paretune.search.refusal import ESTIMATED, FIRST_MARGIN, SizeGate, in_bytes, size_bounds
from paretune.search.simulation import ImmediateService
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import MeasurementFailed, Unsatisfiable
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import Budget, Trial, TrialState, count_trained
from tests.fakes import AnalyticEvaluator, raising, with_baseline
from tests.search.problems import a_problem, at_least, at_most, own, search, stop_after

BASELINE = values_of(with_baseline(AnalyticEvaluator()).trials()[0])


def test_a_policy_whose_file_would_be_too_large_is_refused_and_never_trained() -> None:
    service = ImmediateService(AnalyticEvaluator())
    outcome, ledger, _ = search(a_problem(constraints=[at_most(9)], budget=Budget(trials=10)), service=service)
    refused = [trial for trial in own(ledger) if trial.state is TrialState.REFUSED]
    assert refused[0].reason == "size_bytes estimated 12.3 kB, at most 9 kB"
    assert (refused[0].started, refused[0].measurement) == (0.0, None)
    trained = {candidate.policy.digest for candidate in service.trained}
    assert not trained & {trial.candidate.policy.digest for trial in refused}
    # refusals and the proxies behind them do not count
    assert outcome.reason == "10 trials"
    assert count_trained(own(ledger)) == 10


def test_nothing_is_estimated_where_no_size_is_bounded() -> None:
    service = ImmediateService(AnalyticEvaluator())
    search(a_problem(constraints=[at_least(0.5)]), service=service)
    assert Rung.PROXY not in [rung for _, rung, _ in service.submitted]


def test_every_trial_keeps_its_estimate_for_the_margin() -> None:
    _, ledger, _ = search(a_problem(constraints=[at_most(9), at_most(9, "entropy_bytes")]))
    complete = [trial for trial in own(ledger) if trial.measurement is not None]
    for trial in complete:
        estimated = trial.measurement.details[ESTIMATED]
        assert estimated["size_bytes"] == pytest.approx(1.05 * values_of(trial)["size_bytes"], rel=1e-3)
        assert set(estimated) == {"size_bytes", "entropy_bytes"}
        assert trial.measurement.details["rung"] == "full"


def test_a_second_attempt_keeps_the_estimate_too() -> None:
    service = ImmediateService(AnalyticEvaluator(), before=raising({0: MeasurementFailed("once")}))
    _, ledger, _ = search(a_problem(constraints=[at_most(9)], budget=Budget(trials=1)), service=service)
    [complete] = [trial for trial in own(ledger) if trial.measurement is not None]
    assert complete.measurement is not None
    assert ESTIMATED in complete.measurement.details


@pytest.mark.parametrize("bias", [0.9, 1.05, 1.4])
def test_the_margin_is_learnt_so_that_what_would_fit_is_not_refused(bias: float) -> None:
    evaluator = AnalyticEvaluator(proxy_bias=bias)
    problem = a_problem(evaluator, constraints=[at_most(9)], budget=Budget(trials=25), sampler="random")
    _, ledger, _ = search(problem, evaluator=evaluator)
    late = [trial for trial in own(ledger)[10:] if trial.state is TrialState.REFUSED]
    assert late
    for trial in late:
        assert trained_size(evaluator, trial) > 9000
    gate = SizeGate(size_bounds(problem, BASELINE), ledger.trials())
    assert gate.margin("size_bytes") == pytest.approx(max(1.0, bias / 0.95), rel=0.01)


def trained_size(evaluator: AnalyticEvaluator, trial: Trial) -> float:
    return evaluator.evaluate(trial.candidate, Rung.FULL, Limit()).values["size_bytes"]


def test_the_first_margin_holds_while_little_is_known() -> None:
    gate = SizeGate(size_bounds(a_problem(constraints=[at_most(10)]), BASELINE), [])
    assert gate.margin("size_bytes") == FIRST_MARGIN
    assert gate.objection({"size_bytes": 11_400.0}) == ""
    assert gate.objection({"size_bytes": 11_600.0}) == "size_bytes estimated 11.6 kB, at most 10 kB"


def test_an_estimate_that_fails_refuses_nothing() -> None:
    def before(candidate: object, rung: Rung) -> None:
        if rung is Rung.PROXY:
            raise MeasurementFailed("no")

    service = ImmediateService(AnalyticEvaluator(), before=before)
    outcome, ledger, _ = search(a_problem(constraints=[at_most(9)], budget=Budget(trials=5)), service=service)
    assert outcome.reason == "5 trials"
    assert TrialState.REFUSED not in {trial.state for trial in ledger.trials()}


def test_only_upper_bounds_on_sizes_are_gates() -> None:
    lower = Constraint(objective="size_bytes", bound=Bound.MIN, value=10)
    ratio = Constraint(objective="raw_bytes", bound=Bound.RATIO, value=0.5)
    bounds = size_bounds(a_problem(constraints=[lower, ratio, at_least(0.5)]), BASELINE)
    assert [(bound.objective, bound.most) for bound in bounds] == [("raw_bytes", BASELINE["raw_bytes"] / 2)]


def said(*constraints: Constraint) -> str:
    service = ImmediateService(AnalyticEvaluator())
    ledger = with_baseline(AnalyticEvaluator())
    with pytest.raises(Unsatisfiable) as caught:
        search(a_problem(constraints=constraints), ledger=ledger, service=service)
    assert service.trained == []
    assert own(ledger) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_size_below_the_smallest_reachable_file_is_found_before_searching() -> None:
    assert said(at_most(1)) == (
        "No policy can satisfy size_bytes max 1 kB: the smallest reachable file is about 3.1 kB. "
        "Raise it above 3.1 kB or widen the space."
    )


def test_a_relative_bound_is_told_with_what_it_means() -> None:
    tiny = Constraint(objective="size_bytes", bound=Bound.RATIO, value=0.01)
    assert said(tiny).startswith("No policy can satisfy size_bytes 0.01x (409 bytes): ")


def test_all_offenders_are_told_at_once() -> None:
    message = said(at_most(1), at_most(2, "raw_bytes"))
    assert "size_bytes max 1 kB" in message
    assert "raw_bytes max 2 kB" in message


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        ([at_least(1.2)], "No policy can satisfy accuracy min 1.2: `accuracy` is never above 1. Lower it."),
        ([at_most(0)], "No policy can satisfy size_bytes max 0: `size_bytes` is never below 0. Raise it."),
        (
            [at_least(0.9), Constraint(objective="accuracy", bound=Bound.MAX, value=0.8)],
            "No policy can satisfy both accuracy min 0.9 and accuracy max 0.8: nothing lies between them. Relax one.",
        ),
    ],
)
def test_constraints_that_contradict_themselves_are_found_without_evaluating(
    constraints: list[Constraint], expected: str
) -> None:
    assert said(*constraints) == expected


def test_a_bound_just_above_the_smallest_file_is_searched() -> None:
    outcome, _, _ = search(a_problem(constraints=[at_most(3.2)], budget=Budget(trials=2)))
    assert outcome.reason == "2 trials"


def test_what_has_been_met_once_is_not_checked_again() -> None:
    _, ledger, _ = search(a_problem(constraints=[at_most(9)], budget=Budget(trials=5)))
    service = ImmediateService(AnalyticEvaluator())
    search(
        a_problem(constraints=[at_most(9)], budget=Budget(trials=6)),
        ledger=ledger,
        service=service,
        stop_requested=stop_after(1),
    )
    assert service.submitted == []


@pytest.mark.parametrize(
    ("count", "shown"), [(812, "812 bytes"), (31_400, "31.4 kB"), (60_000, "60 kB"), (4_300_000, "4.3 MB")]
)
def test_bytes_are_shown_in_a_unit_that_fits(count: float, shown: str) -> None:
    assert in_bytes(count) == shown
