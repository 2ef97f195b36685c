"""Rungs: what is refused untrained, what is trained a little first, and what of that is trained in full."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.search import driver
from paretune.search.additive.encoding import Encoding
from paretune.search.events import TrialEnded
from paretune.search.front import FloatArray, find_front, non_dominated, values_of
from paretune.search.funnel.ladder import TRIALS_BEFORE_REFUSALS, Ladder, by_front_region
from paretune.search.proposals.families import LEAF
from paretune.search.settings import SearchProblem
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe, stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.proxy import Proxy, proxy_of
from paretune.spaces.results.trial import Budget, Trial, TrialState, count_trained
from tests.fakes import ACCURACY, SIZE, GradualEvaluator, layer_specs, with_baseline
from tests.search.problems import a_problem, own, search


class Rough(GradualEvaluator):
    """Loses more or less by training than a proxy can tell; a short training tells."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        measurement = super().evaluate(candidate, rung, limit)
        lost = 0.0 if rung is Rung.PROXY else 0.06 * int(candidate.policy.digest[:2], 16) / 255
        values = measurement.values
        return replace(measurement, values={**values, "accuracy": values["accuracy"] - lost})


EVALUATOR = Rough(layers=layer_specs(3))
BASELINE = with_baseline(EVALUATOR).trials()[0]
ALL = tuple(Rung)
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "sparsity": (0.0, 0.5, 0.8),
    "clusters": (None, 16),
    "quantization": (Quantization.FLOAT32, Quantization.INT8, Quantization.INT8_QAT, Quantization.INT4),
}


def the_problem(rungs: tuple[Rung, ...] = ALL, **settings: Any) -> SearchProblem:
    settings = {"choices": CHOICES, "objectives": (ACCURACY, SIZE), "budget": Budget(trials=40), **settings}
    return a_problem(EVALUATOR, rungs=rungs, **settings)


class Lab:
    """A ladder that has seen a few trials, and everything that it can be asked about."""

    def __init__(self, rungs: tuple[Rung, ...] = ALL, *, trained: int = 40) -> None:
        self.problem = the_problem(rungs)
        encoding = Encoding(self.problem.space)
        rows = np.random.default_rng(0).integers(encoding.option_counts, size=(400, 3)).tolist()
        policies = {policy.digest: policy for policy in map(encoding.policy_of, rows)}
        self.policies = [policy for policy in policies.values() if stages_of(policy)]
        self.proxies = {policy.digest: self.proxy(policy) for policy in self.policies[:trained]}
        self.trials = [self.trial(number, policy) for number, policy in enumerate(self.policies[:trained], start=1)]
        self.ladder = Ladder(self.problem, values_of(BASELINE), self.trials, self.proxies)
        self.front = self.front_of(self.trials)

    def front_of(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        return find_front(trials, self.problem.objectives, (), values_of(BASELINE)).trials

    def measure(self, policy: Policy, rung: Rung) -> Measurement:
        return EVALUATOR.evaluate(self.problem.candidate(policy), rung, Limit())

    def proxy(self, policy: Policy) -> Proxy:
        return proxy_of("", Recipe(), policy, self.measure(policy, Rung.PROXY))

    def trial(self, number: int, policy: Policy, rung: Rung = Rung.FULL, **values: float) -> Trial:
        measurement = self.measure(policy, rung)
        return Trial(
            number=number,
            candidate=self.problem.candidate(policy),
            rung=rung,
            state=TrialState.COMPLETE,
            origin="tried",
            measurement=replace(measurement, values={**measurement.values, **values}),
        )

    def decide(self, policy: Policy) -> tuple[Rung | None, str]:
        return self.ladder.rung_of(policy, self.proxy(policy), self.front)

    def enlarges(self, policy: Policy) -> bool:
        """Return whether training it in full would enlarge the front."""
        return self.front_of([*self.front, self.trial(999, policy)]) != self.front


# Before any training


def test_hardly_anything_that_is_refused_untrained_would_have_enlarged_the_front() -> None:
    lab = Lab()
    decided = {policy: lab.decide(policy) for policy in lab.policies[40:]}
    refused = [policy for policy, (rung, _) in decided.items() if rung is None]
    full = [policy for policy, (rung, _) in decided.items() if rung is Rung.FULL]
    assert len(refused) > 0.3 * len(decided)
    assert np.mean([lab.enlarges(policy) for policy in refused]) < 0.05
    assert np.mean([lab.enlarges(policy) for policy in full]) > 0.5


def test_a_refusal_names_the_trial_in_the_way_and_the_probability() -> None:
    lab = Lab()
    front = {trial.number: values_of(trial) for trial in lab.front}
    reasons = [(policy, lab.decide(policy)[1]) for policy in lab.policies[40:] if lab.decide(policy)[0] is None]
    for policy, reason in reasons:
        words = reason.split()
        assert words[:7] == ["not", "worth", "training:", "it", "would", "beat", "trial"]
        assert reason.endswith("%")
        rival, trained = front[int(words[7])], lab.measure(policy, Rung.FULL).values
        assert rival["size_bytes"] <= trained["size_bytes"]
        assert rival["accuracy"] > trained["accuracy"] - 0.02


def test_nothing_is_refused_while_little_is_known() -> None:
    lab = Lab(trained=TRIALS_BEFORE_REFUSALS - 1)
    assert {lab.decide(policy) for policy in lab.policies[40:120]} == {(Rung.FULL, "")}
    more = Lab(trained=2 * TRIALS_BEFORE_REFUSALS)
    assert {more.decide(policy)[0] for policy in more.policies[40:120]} > {Rung.FULL}


def test_each_rung_is_used_only_on_request() -> None:
    def decisions(*rungs: Rung) -> set[Rung | None]:
        lab = Lab(rungs)
        return {lab.decide(policy)[0] for policy in lab.policies[40:160]}

    assert decisions(Rung.PROXY, Rung.SHORT, Rung.FULL) == {None, Rung.SHORT, Rung.FULL}
    assert decisions(Rung.PROXY, Rung.FULL) == {None, Rung.FULL}
    assert decisions(Rung.SHORT, Rung.FULL) == {Rung.SHORT, Rung.FULL}
    assert decisions(Rung.FULL) == {Rung.FULL}


def test_what_needs_no_stage_or_cannot_be_measured_untrained_is_evaluated_in_full() -> None:
    lab = Lab()
    refused = next(policy for policy in lab.policies[40:] if lab.decide(policy)[0] is None)
    assert lab.ladder.rung_of(refused, None, lab.front) == (Rung.FULL, "")
    untrained, _ = lab.problem.space.nearest(LayerPolicy(quantization=Quantization.INT4))
    assert lab.decide(untrained) == (Rung.FULL, "")


def test_proxies_are_asked_only_where_there_is_more_than_one_rung() -> None:
    asking = {
        rungs: Lab(rungs, trained=2).ladder.asks_proxies for rungs in [(Rung.FULL,), (Rung.PROXY, Rung.FULL), ALL]
    }
    assert list(asking.values()) == [False, True, True]


# After a short training


def verdict(lab: Lab, front: Sequence[Trial] = (), *, accuracy: float, size_bytes: float) -> str:
    """Return the verdict on a policy that no short trial has had."""
    short = lab.trial(500, lab.policies[-1], Rung.SHORT, accuracy=accuracy, size_bytes=size_bytes)
    assert short.measurement is not None
    return lab.ladder.verdict(short, short.measurement, front)


#: The model as it was.
BEFORE = values_of(BASELINE)["accuracy"]


def test_what_not_even_a_good_recovery_would_bring_to_the_front_is_stopped_and_told_why() -> None:
    lab = Lab(trained=0)
    rival = lab.trial(7, lab.policies[0], accuracy=BEFORE - 0.01, size_bytes=5000.0)
    said = verdict(lab, [rival], accuracy=BEFORE - 0.2, size_bytes=6000.0)
    assert said.startswith("stopped after a short training: even accuracy 0.9")
    assert said.endswith("in the end would not beat trial 7")
    assert verdict(lab, [rival], accuracy=BEFORE - 0.2, size_bytes=4000.0) == ""
    assert verdict(lab, [rival], accuracy=BEFORE - 0.02, size_bytes=6000.0) == ""


def test_a_short_trial_that_is_better_than_the_model_was_is_taken_at_its_word() -> None:
    lab = Lab(trained=0)
    rival = lab.trial(7, lab.policies[0], accuracy=BEFORE + 0.002, size_bytes=5000.0)
    assert verdict(lab, [rival], accuracy=BEFORE + 0.01, size_bytes=6000.0) == ""
    assert "would not beat trial 7" in verdict(lab, [rival], accuracy=BEFORE + 0.001, size_bytes=6000.0)


def test_how_much_full_training_has_won_back_so_far_decides_what_a_good_recovery_is() -> None:
    lab = Lab(trained=0)
    rival = lab.trial(7, lab.policies[0], accuracy=BEFORE - 0.01, size_bytes=5000.0)
    assert verdict(lab, [rival], accuracy=BEFORE - 0.1, size_bytes=6000.0) != ""
    lab.ladder.tell(lab.trial(8, lab.policies[1], Rung.SHORT, accuracy=BEFORE - 0.1, size_bytes=900.0))
    lab.ladder.tell(lab.trial(9, lab.policies[1], Rung.FULL, accuracy=BEFORE - 0.005, size_bytes=900.0))
    assert "would not beat" not in verdict(lab, [rival], accuracy=BEFORE - 0.1, size_bytes=6000.0)


def test_the_better_half_of_the_short_trials_is_promoted() -> None:
    lab = Lab(trained=0)
    for place, loss in enumerate((0.01, 0.02, 0.03)):
        lab.ladder.tell(lab.trial(place, lab.policies[place], Rung.SHORT, accuracy=BEFORE - loss, size_bytes=5000.0))
    assert verdict(lab, accuracy=BEFORE - 0.015, size_bytes=5000.0) == ""
    for loss, place in ((0.025, 3), (0.04, 4)):
        said = f"stopped after a short training: it ranks {place} of 4 short trials"
        assert verdict(lab, accuracy=BEFORE - loss, size_bytes=5000.0) == said


def test_a_small_model_is_not_crowded_out_by_accurate_ones() -> None:
    lab = Lab(trained=0)
    for place in range(8):
        values = {"accuracy": BEFORE - 0.001 * place, "size_bytes": 9000.0 - 10 * place}
        lab.ladder.tell(lab.trial(place, lab.policies[place], Rung.SHORT, **values))
    assert verdict(lab, accuracy=BEFORE - 0.3, size_bytes=1000.0) == ""
    assert verdict(lab, accuracy=BEFORE - 0.3, size_bytes=9100.0) != ""


def test_the_first_short_trial_is_promoted_and_one_that_is_tried_again_does_not_compete_with_itself() -> None:
    lab = Lab(trained=0)
    assert verdict(lab, accuracy=BEFORE - 0.1, size_bytes=5000.0) == ""
    lab.ladder.tell(lab.trial(3, lab.policies[-1], Rung.SHORT, accuracy=BEFORE - 0.1, size_bytes=5000.0))
    assert verdict(lab, accuracy=BEFORE - 0.1, size_bytes=5000.0) == ""


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(POINTS)
def test_promotion_goes_by_rank_and_within_a_rank_to_the_least_like_what_came_before(
    points: list[tuple[int, int]],
) -> None:
    costs = np.array(points, dtype=float)
    order = by_front_region(costs)
    assert sorted(order) == list(range(len(points)))
    ranks = rank_of(costs)
    assert [ranks[index] for index in order] == sorted(ranks)
    # equal points come last in their rank
    for rank in set(ranks):
        members = [points[index] for index in order if ranks[index] == rank]
        different = len(set(members))
        assert len(set(members[:different])) == different


def rank_of(costs: FloatArray) -> list[int]:
    ranks = np.full(len(costs), -1)
    for rank in range(len(costs)):
        left = np.flatnonzero(ranks < 0)
        if len(left):
            ranks[left[non_dominated(costs[left])]] = rank
    return ranks.tolist()


def test_both_ends_of_a_rank_are_promoted_before_its_middle() -> None:
    line = np.array([(0.0, 10.0), (1.0, 9.0), (2.0, 8.0), (10.0, 0.0), (5.0, 5.0)])
    assert by_front_region(line)[:3] == [0, 3, 4]


# Whole searches

SAMPLERS = ("funnel", "tpe", "random")


@pytest.fixture(scope="module", params=SAMPLERS)
def searched(request: pytest.FixtureRequest) -> tuple[SearchProblem, MemoryLedger, list[Any]]:
    problem = the_problem(sampler=request.param)
    outcome, ledger, events = search(problem, evaluator=EVALUATOR)
    assert outcome.reason == "40 trials"
    return problem, ledger, events


Searched = tuple[SearchProblem, MemoryLedger, list[Any]]


def short_trials(ledger: MemoryLedger) -> list[Trial]:
    return [trial for trial in own(ledger) if trial.rung is Rung.SHORT]


def last_front(events: list[Any]) -> TrialEnded:
    return [event for event in events if isinstance(event, TrialEnded)][-1]


def test_only_trials_in_full_make_the_front(searched: Searched) -> None:
    _, ledger, events = searched
    front = last_front(events).front
    assert len(short_trials(ledger)) > 5
    assert front.trials
    assert {trial.rung for trial in front.trials} == {Rung.FULL}


def test_every_short_trial_is_either_stopped_with_a_reason_or_trained_in_full_right_after(searched: Searched) -> None:
    _, ledger, _ = searched
    trials = own(ledger)
    full = {trial.candidate.policy.digest: trial for trial in trials if trial.rung is Rung.FULL}
    for short in short_trials(ledger):
        again = full.get(short.candidate.policy.digest)
        if short.reason:
            assert short.reason.startswith("stopped after a short training: ")
            assert again is None
        else:
            assert again is not None
            assert again.number == short.number + 1
            assert (again.origin, again.parameters) == (short.origin, short.parameters)
    assert {bool(short.reason) for short in short_trials(ledger)} == {True, False}


def test_what_is_refused_untrained_says_so(searched: Searched) -> None:
    _, ledger, _ = searched
    refused = [trial for trial in own(ledger) if trial.state is TrialState.REFUSED]
    assert all(trial.reason.startswith("not worth training: ") for trial in refused)
    assert all(trial.number > TRIALS_BEFORE_REFUSALS for trial in refused)


def test_the_budget_counts_trials_in_full_only(searched: Searched) -> None:
    _, ledger, _ = searched
    full = [trial for trial in own(ledger) if trial.rung is Rung.FULL and stages_of(trial.candidate.policy)]
    stems = {trial.candidate.stem_digest for trial in full if trial.state is TrialState.COMPLETE}
    assert count_trained(own(ledger)) == len(stems) == 40
    for short in short_trials(ledger):
        assert short.measurement is not None
        assert 0 < short.measurement.training_steps <= 30


def test_with_rungs_as_many_trials_in_full_find_a_front_that_is_no_worse(searched: Searched) -> None:
    problem, _, events = searched
    _, _, plain = search(replace(problem, rungs=(Rung.FULL,)), evaluator=EVALUATOR)
    assert last_front(events).hypervolume >= 0.98 * last_front(plain).hypervolume


def test_what_needs_no_further_training_is_evaluated_in_full_however_doubtful_it_is() -> None:
    _, ledger, _ = search(the_problem(sampler="random", leaves=3), evaluator=EVALUATOR)
    leaves = [trial for trial in own(ledger) if trial.origin == LEAF and stages_of(trial.candidate.policy)]
    assert len(leaves) > 20
    assert {(trial.rung, trial.state) for trial in leaves} == {(Rung.FULL, TrialState.COMPLETE)}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("after", ["promotion", "stop", "proxy"])
def test_a_search_that_is_stopped_between_two_rungs_goes_on_the_same_way(sampler: str, after: str) -> None:
    problem = the_problem(sampler=sampler, budget=Budget(trials=30))
    _, whole, _ = search(problem, evaluator=EVALUATOR)
    ledger = with_baseline(EVALUATOR)
    service = ImmediateService(EVALUATOR)

    def stop_requested() -> bool:
        last = ledger.trials()[-1]
        if after == "proxy":
            return len(own(ledger)) > TRIALS_BEFORE_REFUSALS and service.submitted[-1][1] is Rung.PROXY
        is_short = last.rung is Rung.SHORT and last.state is TrialState.COMPLETE
        return is_short and (last.reason == "") is (after == "promotion")

    outcome, ledger, _ = search(
        problem, ledger=ledger, service=service, evaluator=EVALUATOR, stop_requested=stop_requested
    )
    assert outcome.interrupted
    stopped_at = len(ledger.trials())
    _, again, _ = search(problem, ledger=ledger.reopened(), evaluator=EVALUATOR)
    if after == "promotion":
        assert again.trials()[stopped_at].rung is Rung.FULL
        assert again.trials()[stopped_at].candidate == again.trials()[stopped_at - 1].candidate
    assert [(t.candidate, t.rung, t.state, t.reason) for t in own(again)] == [
        (t.candidate, t.rung, t.state, t.reason) for t in own(whole)
    ]


def test_a_promoted_trial_that_was_interrupted_is_evaluated_again_and_only_once() -> None:
    problem = the_problem(sampler="random", budget=Budget(trials=30))
    _, whole, _ = search(problem, evaluator=EVALUATOR)
    promoted = next(short for short in short_trials(whole) if not short.reason)

    class Killed(BaseException):
        pass

    def die(candidate: Candidate, rung: Rung) -> None:
        if candidate == promoted.candidate and rung is Rung.FULL:
            raise Killed

    ledger = with_baseline(EVALUATOR)
    with pytest.raises(Killed):
        search(problem, ledger=ledger, service=ImmediateService(EVALUATOR, before=die), evaluator=EVALUATOR)
    assert ledger.trials()[-1].state is TrialState.INTERRUPTED
    _, ledger, _ = search(problem, ledger=ledger.reopened(), evaluator=EVALUATOR)
    assert [(t.candidate, t.rung) for t in own(ledger)] == [(t.candidate, t.rung) for t in own(whole)]


def test_a_search_of_nothing_but_short_trials_ends_too() -> None:
    lab = Lab(trained=0)
    ledger = with_baseline(EVALUATOR)
    for policy in lab.policies[:10]:
        opened = ledger.open_trial(
            candidate=lab.problem.candidate(policy), rung=Rung.SHORT, origin="tried", parameters={}
        )
        short = lab.trial(opened.number, policy, Rung.SHORT)
        ledger.close_trial(replace(short, reason="stopped after a short training"))
    service = ImmediateService(EVALUATOR)
    problem = the_problem(budget=Budget(trials=2))
    outcome, _, _ = search(problem, ledger=ledger, service=service, evaluator=EVALUATOR)
    assert outcome.reason == "2 trials (10 more were not trained in full)"
    assert service.submitted == []


def test_a_search_ends_when_no_policy_is_worth_a_full_training_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "MOST_HOPELESS_IN_A_ROW", 6)
    outcome, ledger, _ = search(the_problem(sampler="funnel", budget=Budget(trials=10_000)), evaluator=EVALUATOR)
    last = own(ledger)[-6:]
    assert all(trial.state is TrialState.REFUSED or trial.was_stopped for trial in last)
    assert outcome.reason == (f"6 policies in a row were not worth a full training, the last: {last[-1].reason}")
