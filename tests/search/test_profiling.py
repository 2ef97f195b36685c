"""The profile on its own: what is measured, once, and what a search then finds."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from paretune.search.additive.encoding import Encoding
from paretune.search.additive.profile import ProfilePlan
from paretune.search.driver import run_search
from paretune.search.events import Profiling
from paretune.search.profiling import measure_profile
from paretune.search.settings import SearchProblem
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.trial import Budget
from tests.fakes import GradualEvaluator, with_baseline
from tests.search.problems import SMALL_CHOICES, a_problem, stop_after


@pytest.fixture
def service() -> ImmediateService:
    return ImmediateService(GradualEvaluator())


@pytest.fixture
def problem(service: ImmediateService) -> SearchProblem:
    return a_problem(GradualEvaluator(), choices=SMALL_CHOICES, sampler="funnel")


@pytest.fixture
def ledger() -> MemoryLedger:
    return with_baseline(GradualEvaluator())


def measured(service: ImmediateService) -> Sequence[str]:
    """Return the digests of the policies that were measured untrained, in order."""
    return [candidate.policy.digest for candidate, rung, _ in service.submitted if rung is Rung.PROXY]


def test_a_profile_measures_what_the_funnel_would_and_trains_nothing(
    problem: SearchProblem, service: ImmediateService, ledger: MemoryLedger
) -> None:
    heard: list[Profiling] = []
    assert measure_profile(problem, service, ledger, notify=heard.append)
    plan = ProfilePlan(Encoding(problem.space), seed=problem.seed)
    assert list(measured(service)) == [policy.digest for policy in plan.policies()]
    assert len(service.submitted) == len(plan.policies())
    assert (heard[-1].done, heard[-1].total) == (len(plan.policies()),) * 2
    assert len(ledger.trials()) == 1


def test_a_search_after_it_measures_none_of_it_again(
    problem: SearchProblem, service: ImmediateService, ledger: MemoryLedger
) -> None:
    measure_profile(problem, service, ledger)
    known = set(measured(service))
    service.submitted.clear()
    heard: list[object] = []
    run_search(replace(problem, budget=Budget(trials=3)), service, ledger, notify=heard.append, clock=service.clock)
    assert not known & set(measured(service))
    assert not any(isinstance(event, Profiling) for event in heard)


def test_a_stopped_profile_goes_on_and_measures_nothing_twice(
    problem: SearchProblem, service: ImmediateService, ledger: MemoryLedger
) -> None:
    assert not measure_profile(problem, service, ledger, stop_requested=stop_after(10))
    assert 0 < len(ledger.proxies()) < 20
    assert measure_profile(problem, service, ledger)
    assert len(set(measured(service))) == len(measured(service)) == len(ledger.proxies())
