import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from paretune.search import proxies
from paretune.search.proxies import HANDFUL, ProxyBook
from paretune.search.settings import SearchProblem
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe, stage_share, untrained_digest
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, ExportRecipe, PruneRecipe
from paretune.spaces.errors import LimitReached, MeasurementFailed, RunError, TrialError, WorkerLost
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.proxy import Proxy
from tests.fakes import AnalyticEvaluator, ThreadedService
from tests.search.problems import SMALL_CHOICES, a_problem, stop_after

EVALUATOR = AnalyticEvaluator()
PROBLEM = a_problem(EVALUATOR, choices=SMALL_CHOICES)
POLICIES = list({policy.digest: policy for policy in PROBLEM.space.policies()}.values())[:40]


@dataclass
class Desk:
    """A book, what it is written into, and what it asks."""

    book: ProxyBook
    ledger: MemoryLedger
    service: ImmediateService

    @property
    def asked(self) -> list[str]:
        return [candidate.policy.digest for candidate, _, _ in self.service.submitted]

    @property
    def kept(self) -> list[str]:
        return [proxy.policy.digest for proxy in self.ledger.proxies()]


def a_desk(
    ledger: MemoryLedger | None = None,
    *,
    must_stop: Callable[[], bool] = lambda: False,
    before: Callable[[Candidate, Rung], None] = lambda candidate, rung: None,
    workers: int = 1,
    problem: SearchProblem = PROBLEM,
) -> Desk:
    ledger = ledger if ledger is not None else MemoryLedger()
    service = ImmediateService(EVALUATOR, before=before, workers=workers)
    return Desk(ProxyBook(problem, service, ledger, must_stop), ledger, service)


def digests(policies: list[Policy]) -> list[str]:
    return [policy.digest for policy in policies]


@pytest.mark.parametrize("workers", [1, 3])
def test_each_policy_is_measured_once_untrained_and_kept(workers: int) -> None:
    desk = a_desk(workers=workers)
    assert desk.book.measure([*POLICIES[:20], *POLICIES[:5]])
    assert desk.book.measure(POLICIES[10:30])
    assert desk.asked == digests(POLICIES[:30])
    assert {rung for _, rung, _ in desk.service.submitted} == {Rung.PROXY}
    assert sorted(desk.kept) == sorted(digests(POLICIES[:30]))
    assert set(desk.book.known) == set(desk.kept)


def test_a_proxy_tells_the_values_and_the_bytes_of_each_layer() -> None:
    desk = a_desk()
    proxy = desk.book.get(POLICIES[7])
    measured = EVALUATOR.evaluate(PROBLEM.candidate(POLICIES[7]), Rung.PROXY, Limit())
    assert proxy == Proxy(
        base=untrained_digest(PROBLEM.description.architecture, PROBLEM.recipe, POLICIES[7]),
        policy=POLICIES[7],
        values=measured.values,
        layer_bytes={layer.layer: layer.deflated_bytes for layer in measured.fidelity.layers},
        seconds=sum(measured.seconds.values()),
    )
    assert list(desk.ledger.proxies()) == [proxy]
    assert desk.book.get(POLICIES[7]) == proxy
    assert len(desk.asked) == 1


def test_what_is_known_is_a_live_view() -> None:
    desk = a_desk()
    known = desk.book.known
    desk.book.measure(POLICIES[:2])
    assert list(known) == digests(POLICIES[:2])


def test_a_run_that_is_opened_again_knows_what_was_measured_before() -> None:
    first = a_desk()
    first.book.measure(POLICIES[:20])
    again = a_desk(first.ledger.reopened())
    assert again.book.known == first.book.known
    assert again.book.measure(POLICIES[:20])
    assert again.asked == []
    assert digests(list(again.book.missing(POLICIES[:23]))) == digests(POLICIES[20:23])


def test_proxies_of_clusters_by_channel_serve_no_recipe_that_clusters_by_tensor() -> None:
    clustered = next(policy for policy in POLICIES if stage_share("cluster", policy))
    plain = next(policy for policy in POLICIES if not stage_share("cluster", policy))
    first = a_desk()
    first.book.measure([clustered, plain])
    by_channel = replace(PROBLEM, recipe=Recipe(cluster=ClusterRecipe(epochs=1, scope="channel")))
    desk = a_desk(first.ledger, problem=by_channel)
    assert list(desk.book.known) == [plain.digest]  # without clusters, it is the same
    assert desk.book.get(clustered) is not None
    started_later = a_desk(first.ledger, problem=replace(PROBLEM, recipe=Recipe(cluster=ClusterRecipe(epochs=3))))
    assert set(started_later.book.known) == {clustered.digest, plain.digest}


def test_proxies_of_a_sparsity_pattern_serve_no_recipe_without_it() -> None:
    pruned = next(policy for policy in POLICIES if stage_share("prune", policy))
    dense = next(policy for policy in POLICIES if not stage_share("prune", policy))
    first = a_desk()
    first.book.measure([pruned, dense])
    patterned = replace(PROBLEM, recipe=replace(PROBLEM.recipe, prune=PruneRecipe(pattern="2:4")))
    assert list(a_desk(first.ledger, problem=patterned).book.known) == [dense.digest]


def test_proxies_of_another_model_are_not_known() -> None:
    first = a_desk()
    first.book.measure(POLICIES[:3])
    other = replace(PROBLEM, description=replace(PROBLEM.description, architecture="another"))
    desk = a_desk(first.ledger, problem=other)
    assert desk.book.known == {}
    assert desk.book.get(POLICIES[0]) is not None
    assert len(desk.asked) == 1


@pytest.mark.parametrize("error", [MeasurementFailed("NaN"), WorkerLost("killed"), LimitReached("slow"), TrialError()])
def test_what_could_not_be_measured_is_not_asked_again_and_nothing_is_kept_of_it(error: Exception) -> None:
    def before(candidate: Candidate, rung: Rung) -> None:
        if candidate.policy == POLICIES[1]:
            raise error

    desk = a_desk(before=before)
    assert desk.book.measure(POLICIES[:3])
    assert desk.book.get(POLICIES[1]) is None
    assert desk.book.measure(POLICIES[:3])
    assert desk.asked == digests(POLICIES[:3])
    assert desk.kept == digests([POLICIES[0], POLICIES[2]])
    assert desk.book.missing(POLICIES[:3]) == ()


def test_a_bug_goes_on_up() -> None:
    def before(candidate: Candidate, rung: Rung) -> None:
        raise KeyError("a bug indeed")

    with pytest.raises(KeyError, match="a bug indeed"):
        a_desk(before=before).book.measure(POLICIES[:2])


def test_a_ledger_that_cannot_write_is_told() -> None:
    class Full(MemoryLedger):
        def keep_proxy(self, proxy: Proxy) -> None:
            raise RunError("No space left.")

    desk = a_desk(Full())
    with pytest.raises(RunError, match="No space left"):
        desk.book.measure(POLICIES[:2])
    assert desk.book.known == {}


def test_the_deadline_of_a_trial_is_that_of_a_proxy_too() -> None:
    desk = a_desk(problem=a_problem(EVALUATOR, trial_seconds=30.0))
    desk.book.get(POLICIES[0])
    assert [limit for _, _, limit in desk.service.submitted] == [Limit(seconds=30.0)]


def test_progress_is_told_one_by_one() -> None:
    told: list[tuple[int, int]] = []
    desk = a_desk()
    desk.book.measure(POLICIES[:2])
    desk.book.measure(POLICIES[:5], on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


# Stopping


def test_a_stop_in_the_middle_keeps_what_was_measured_and_the_rest_is_measured_later() -> None:
    first = a_desk(must_stop=stop_after(14))
    assert not first.book.measure(POLICIES)
    assert first.kept == first.asked == digests(POLICIES[:15])
    again = a_desk(first.ledger.reopened())
    assert again.book.measure(POLICIES)
    assert again.asked == digests(POLICIES[15:])
    assert again.kept == digests(POLICIES)


@pytest.mark.parametrize("measured", range(1, 6))
def test_a_handful_is_kept_together_or_not_at_all(measured: int) -> None:
    """Who chooses among them must not know some of them only."""
    policies = POLICIES[:5]
    assert len(policies) <= HANDFUL
    first = a_desk(must_stop=stop_after(measured - 1))
    assert not first.book.measure(policies)
    assert first.asked == digests(policies[:measured])
    assert first.kept == list(first.book.known) == []
    assert a_desk(first.ledger.reopened()).book.measure(policies)


def test_a_stop_cancels_what_is_being_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "SECONDS_BETWEEN_LOOKS", 0.01)
    never = threading.Event()

    def before(candidate: Candidate, rung: Rung) -> None:
        never.wait(60)

    service = ThreadedService(EVALUATOR, workers=2, before=before)
    assert not ProxyBook(PROBLEM, service, MemoryLedger(), stop_after(3)).measure(POLICIES)
    assert len(service.futures) == 2
    assert all(future.cancelled() for future in service.futures)
    never.set()


def test_proxies_of_files_that_were_repaired_are_apart_from_those_that_were_not() -> None:
    first = a_desk()
    first.book.measure(POLICIES[:3])
    other = replace(PROBLEM, recipe=replace(PROBLEM.recipe, export=ExportRecipe(equalise=True)))
    desk = a_desk(first.ledger, problem=other)
    assert desk.book.known == {}
    trained_longer = replace(PROBLEM, recipe=Recipe(prune=replace(PROBLEM.recipe.prune, epochs=9.0)))
    assert set(a_desk(first.ledger, problem=trained_longer).book.known) == set(digests(POLICIES[:3]))
