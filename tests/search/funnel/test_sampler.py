"""Paretune's own sampler: what it asks for, what it proposes, and that nothing can mislead it for ever."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from paretune.search.additive.encoding import Encoding
from paretune.search.additive.profile import ProfilePlan, read_profile
from paretune.search.additive.solving import solve
from paretune.search.events import TrialEnded
from paretune.search.front import values_of
from paretune.search.funnel.sampler import FunnelSampler
from paretune.search.proposals.families import LEAF
from paretune.search.proposals.references import Proposal
from paretune.search.proxies import ProxyBook
from paretune.search.settings import FUNNEL, SamplerSettings, SearchProblem
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import STAGES, stage_share, stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError, MeasurementFailed
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import Budget, Trial, TrialState, count_trained
from tests.contracts.samplers import EVALUATOR, Build, SamplerContract
from tests.fakes import ACCURACY, LATENCY, SIZE, AnalyticEvaluator, GradualEvaluator, with_baseline
from tests.search.problems import a_problem, at_least, at_most, own, search

CHOICES: Mapping[str, tuple[Any, ...]] = {
    "sparsity": (0.0, 0.5, 0.8),
    "clusters": (None, 16),
    "quantization": (Quantization.FLOAT32, Quantization.INT8, Quantization.INT8_QAT, Quantization.INT4),
}


#: Budgets are small here, and what is learnt is to have its turn.
FEW_SEEDS = {"seeds": 6}


class Measuring(FunnelSampler):
    """Measures what it wants to know before it answers, as the driver does for it."""

    def __init__(self, problem: SearchProblem, ledger: MemoryLedger) -> None:
        self._book = ProxyBook(problem, ImmediateService(EVALUATOR), ledger, lambda: False)
        super().__init__(problem, ledger.trials(), self._book.known)

    def ask(self) -> Proposal | None:
        while wanted := self.wanted():
            self._book.measure(wanted)
        return super().ask()


class TestFunnel(SamplerContract):
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = CHOICES

    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name=FUNNEL, arguments=FEW_SEEDS)

    @pytest.fixture
    def build(self) -> Build:
        return Measuring


GRADUAL = GradualEvaluator(layers=EVALUATOR.layers)


def funnel_problem(evaluator: AnalyticEvaluator = GRADUAL, *, trials: int = 14, **settings: Any) -> SearchProblem:
    """Return a problem of 3 layers and two objectives."""
    settings = {
        "choices": CHOICES,
        "sampler": FUNNEL,
        "arguments": FEW_SEEDS,
        "objectives": (ACCURACY, SIZE),
        **settings,
    }
    return a_problem(evaluator, budget=Budget(trials=trials), **settings)


def trials_of(evaluator: AnalyticEvaluator = GRADUAL, **settings: Any) -> list[Trial]:
    _, ledger, _ = search(funnel_problem(evaluator, **settings), evaluator=evaluator)
    return own(ledger)


def origins(trials: list[Trial]) -> list[str]:
    return [trial.origin for trial in trials]


# Profile and seeds


def test_the_profile_is_measured_before_anything_is_trained() -> None:
    service = ImmediateService(GRADUAL)
    problem = funnel_problem(trials=3)
    search(problem, service=service, evaluator=GRADUAL)
    planned = ProfilePlan(Encoding(problem.space), seed=problem.seed).policies()
    first = service.submitted[: len(planned)]
    assert [candidate.policy for candidate, _, _ in first] == list(planned)
    assert {rung for _, rung, _ in first} == {Rung.PROXY}
    assert sum(bool(stages_of(candidate.policy)) for candidate in service.trained) == 3


def test_seeds_that_train_nothing_come_first_and_differ_in_size() -> None:
    found = trials_of(trials=3)
    free = [trial for trial in found if not stages_of(trial.candidate.policy)]
    assert len(free) > 1
    assert free == found[: len(free)]
    assert {trial.origin for trial in free} == {"seed"}
    sizes = [values_of(trial)["size_bytes"] for trial in free]
    assert min(sizes) == sizes[0] < 0.6 * max(sizes)


def test_a_format_that_beats_all_others_is_the_only_one_of_them() -> None:
    found = trials_of(trials=2, choices={**CHOICES, "quantization": (Quantization.FLOAT16,)})
    assert [bool(stages_of(trial.candidate.policy)) for trial in found] == [False, True, True]


@pytest.mark.parametrize(
    "pinned", [{"conv0": {"sparsity": 0.5}}, {"conv1": {"quantization": Quantization.INT8_QAT}}], ids=["pruned", "qat"]
)
def test_where_a_layer_is_trained_in_any_case_there_are_none(pinned: dict[str, dict[str, Any]]) -> None:
    found = trials_of(trials=3, pinned=pinned)
    assert all(stages_of(trial.candidate.policy) for trial in found)
    assert "seed" in origins(found)


def additive_rows(problem: SearchProblem, ledger: MemoryLedger) -> set[tuple[int, ...]]:
    plan = ProfilePlan(Encoding(problem.space), seed=problem.seed)
    profile = read_profile(plan, {proxy.policy.digest: proxy for proxy in ledger.proxies()}, "accuracy", 1)
    assert profile is not None
    return {tuple(row) for row in solve(plan.encoding, profile, problem.objectives).options.tolist()}


def test_the_seeds_that_train_are_of_the_additive_front_and_far_apart() -> None:
    problem = funnel_problem(trials=8)
    _, ledger, _ = search(problem, evaluator=GRADUAL)
    trained = [trial for trial in own(ledger) if stages_of(trial.candidate.policy)]
    assert origins(trained)[:6] == ["seed"] * 6
    encoding = Encoding(problem.space)
    assert {encoding.row_of_trial(trial) for trial in trained[:6]} <= additive_rows(problem, ledger)
    sizes = [values_of(trial)["size_bytes"] for trial in trained[:6]]
    assert max(sizes) > 2.5 * min(sizes)


@pytest.mark.parametrize("constraints", [[at_most(6)], [at_least(0.9)], [at_most(7), at_least(0.88)]])
def test_the_seeds_are_expected_to_meet_the_constraints(constraints: list[Constraint]) -> None:
    """A third of what is lost untrained stays with this evaluator, as is assumed while nothing is known."""
    problem = funnel_problem(constraints=constraints, trials=7)
    _, ledger, _ = search(problem, evaluator=GRADUAL)
    seeds = [values_of(trial) for trial in own(ledger) if trial.origin == "seed"]
    assert len(seeds) > 2
    for constraint in constraints:
        slack = 1.1 if constraint.bound is Bound.MAX else 0.97
        for values in seeds:
            value = values[constraint.objective]
            assert (
                value <= slack * constraint.value
                if constraint.bound is Bound.MAX
                else value >= slack * constraint.value
            )


def test_after_the_first_ten_seeds_take_turns_with_what_is_learnt() -> None:
    trials = trials_of(arguments={"seeds": 20}, trials=24)
    found = origins([trial for trial in trials if stages_of(trial.candidate.policy)])
    assert found[:10] == ["seed"] * 10
    later = ["seed" if origin == "seed" else "learnt" for origin in found[10:]]
    assert later[:2] == ["learnt", "seed"]
    assert 3 <= later[:10].count("seed") <= 5  # the learner may propose a seed by itself
    assert found.count("seed") <= 20


def test_the_usual_uniform_policies_are_left_out() -> None:
    assert "reference" not in origins(trials_of(trials=4))


# Learning


def test_later_proposals_come_from_what_was_learnt_and_enlarge_the_front_more_than_chance_does() -> None:
    problem = funnel_problem(trials=20)
    volumes = []
    for sampler in (FUNNEL, "random"):
        _, ledger, events = search(
            problem if sampler == FUNNEL else replace(problem, sampler=SamplerSettings(name=sampler)), evaluator=GRADUAL
        )
        volumes.append([event.hypervolume for event in events if isinstance(event, TrialEnded)][-1])
        if sampler == FUNNEL:
            assert origins(own(ledger)).count("learner") > 5
    assert volumes[0] > 1.02 * volumes[1]


@dataclass(frozen=True)
class ClustersHurt(GradualEvaluator):
    """Clusters cost dearly untrained, and a part of that after training."""

    stays: float = 1.0

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        measurement = super().evaluate(candidate, rung, limit)
        clustered = sum(decided.clusters is not None for decided in candidate.policy.values())
        lost = 0.15 * clustered * (1.0 if rung is Rung.PROXY else self.stays)
        values = measurement.values
        worse = {"accuracy": values["accuracy"] - lost, "loss": values["loss"] + lost}
        return replace(measurement, values={**values, **worse})


def test_what_training_wins_back_is_proposed_in_the_end_and_what_it_does_not_is_not() -> None:
    shares = []
    for stays in (0.0, 1.0):
        trials = trials_of(ClustersHurt(layers=EVALUATOR.layers, stays=stays), trials=40)
        learnt = [trial for trial in trials if trial.origin in ("learner", LEAF)]
        late = [decided for trial in learnt[-15:] for decided in trial.candidate.policy.values()]
        shares.append(np.mean([decided.clusters is not None for decided in late]))
    assert shares[0] > 1.8 * shares[1]


def test_refusals_are_rare_although_most_policies_are_too_large() -> None:
    problem = funnel_problem(constraints=[at_most(3.3)], trials=20)
    encoding = Encoding(problem.space)
    rows = np.random.default_rng(0).integers(encoding.option_counts, size=(200, 3)).tolist()
    sizes = [GRADUAL.evaluate(problem.candidate(encoding.policy_of(row)), Rung.FULL, Limit()) for row in rows]
    assert np.mean([measured.values["size_bytes"] > 3300 for measured in sizes]) > 0.6
    _, ledger, _ = search(problem, evaluator=GRADUAL)
    assert np.mean([trial.state is TrialState.REFUSED for trial in own(ledger)]) < 0.1


@pytest.mark.parametrize("objectives", [(ACCURACY,), (ACCURACY, LATENCY), (ACCURACY, SIZE, LATENCY), (SIZE, LATENCY)])
def test_any_objectives_will_do(objectives: tuple[Any, ...]) -> None:
    found = origins(trials_of(objectives=objectives, trials=9))
    assert found.count("seed") > 0
    assert found.count("learner") + found.count(LEAF) > 0


def test_several_workers_are_given_different_policies() -> None:
    service = ImmediateService(GRADUAL, workers=3)
    _, ledger, _ = search(funnel_problem(trials=20), service=service, evaluator=GRADUAL)
    digests = [trial.candidate.policy.digest for trial in own(ledger)]
    assert len(digests) == len(set(digests))
    assert count_trained(own(ledger)) == 20


# A wrong profile


class Liar(GradualEvaluator):
    """Untrained, it says that what costs most costs nothing, and the other way round."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        measurement = super().evaluate(candidate, rung, limit)
        if rung is not Rung.PROXY:
            return measurement
        lost = max(0.0, 0.5 - 3 * self._values(candidate.policy, Rung.FULL)["loss"])
        return replace(measurement, values={**measurement.values, "accuracy": 0.98 - lost, "loss": lost})


class Blind(GradualEvaluator):
    """Measures nothing untrained."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        if rung is Rung.PROXY:
            raise MeasurementFailed("all outputs are NaN")
        return super().evaluate(candidate, rung, limit)


@pytest.mark.parametrize("evaluator", [GRADUAL, Liar(layers=EVALUATOR.layers)], ids=["honest", "lying"])
def test_optuna_keeps_its_share_whatever_the_profile_says(evaluator: AnalyticEvaluator) -> None:
    found = trials_of(evaluator, arguments={**FEW_SEEDS, "explore_every": 3}, trials=30)
    later = [origin for origin in origins(found) if origin in ("learner", "tpe")]
    assert len(later) > 12
    assert all("tpe" in later[start : start + 3] for start in range(len(later) - 2))


def test_a_lying_profile_is_overcome() -> None:
    """All that it recommends is bad; good policies are found all the same."""
    evaluator = Liar(layers=EVALUATOR.layers)
    problem = funnel_problem(evaluator, trials=40)
    volumes = []
    for sampler in (FUNNEL, "tpe"):
        _, _, events = search(replace(problem, sampler=SamplerSettings(name=sampler)), evaluator=evaluator)
        volumes.append([event.hypervolume for event in events if isinstance(event, TrialEnded)][-1])
    assert volumes[0] > 0.95 * volumes[1]


def test_without_a_profile_optuna_proposes() -> None:
    evaluator = Blind(layers=EVALUATOR.layers)
    outcome, ledger, _ = search(funnel_problem(evaluator), evaluator=evaluator)
    assert outcome.reason == "14 trials"
    assert set(origins(own(ledger))) == {"tpe"}


def test_every_proposal_is_optunas_on_request() -> None:
    found = origins(trials_of(arguments={"explore_every": 1}, trials=12))
    assert set(found) == {"seed", "tpe"}


# Leaves


@dataclass(frozen=True)
class Remembering(GradualEvaluator):
    """Trains each stage once, as the stage tree does."""

    trained: set[str] = field(default_factory=set)

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        measurement = super().evaluate(candidate, rung, limit)
        shares = [repr(stage_share(stage, candidate.policy)) for stage in STAGES]
        stages = {repr(shares[: STAGES.index(stage) + 1]) for stage in stages_of(candidate.policy)}
        new = stages - self.trained if rung is Rung.FULL else set()
        self.trained.update(new)
        return replace(measurement, training_steps=40 * len(new))


def test_leaves_are_proposed_and_cost_no_steps() -> None:
    trials = trials_of(Remembering(layers=EVALUATOR.layers), trials=16)
    leaves = [trial for trial in trials if trial.origin == LEAF]
    assert len(leaves) >= 3
    assert not any(trial.was_trained for trial in leaves)
    # nothing else was for free, but what needs no stage at all
    assert all(trial.was_trained for trial in trials if trial not in leaves and stages_of(trial.candidate.policy))


def test_leaves_are_looked_for_on_purpose() -> None:
    """In a large space hardly any is met by chance."""
    by_chance, on_purpose = (
        [
            origins(trials_of(choices={}, arguments={**FEW_SEEDS, "leaves": leaves}, seed=seed, trials=24)).count(LEAF)
            for seed in (1, 2)
        ]
        for leaves in (False, True)
    )
    assert sum(by_chance) < sum(on_purpose)


def test_thrift_prefers_leaves() -> None:
    counts = [origins(trials_of(arguments={"thrift": thrift}, trials=12)).count(LEAF) for thrift in (0.0, 1.0)]
    assert counts[0] < counts[1]


# Resuming


@pytest.fixture(scope="module", params=[GRADUAL, "partly blind"], ids=["whole", "partly blind"])
def uninterrupted(request: pytest.FixtureRequest) -> tuple[AnalyticEvaluator, list[Trial], int]:
    """Return an evaluator, what a search that nobody stops tries, and how often it asks."""
    evaluator = GRADUAL if request.param is GRADUAL else PartlyBlind(layers=EVALUATOR.layers)
    service = ImmediateService(evaluator)
    _, ledger, _ = search(funnel_problem(evaluator), service=service, evaluator=evaluator)
    return evaluator, own(ledger), len(service.submitted)


class PartlyBlind(GradualEvaluator):
    """Cannot measure some policies untrained, of the profile and of others."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        if rung is Rung.PROXY and candidate.policy["conv1"].sparsity > 0.7:
            raise MeasurementFailed("all outputs are NaN")
        return super().evaluate(candidate, rung, limit)


@pytest.mark.parametrize("share", [0.1, 0.4, *np.linspace(0.5, 0.98, 11)])
def test_a_search_that_is_stopped_and_opened_again_proposes_the_same(
    uninterrupted: tuple[AnalyticEvaluator, list[Trial], int], share: float
) -> None:
    evaluator, whole, asked = uninterrupted
    service = ImmediateService(evaluator)
    ledger = with_baseline(evaluator)
    outcome, ledger, _ = search(
        funnel_problem(evaluator),
        ledger=ledger,
        service=service,
        evaluator=evaluator,
        stop_requested=lambda: len(service.submitted) >= share * asked,
    )
    assert outcome.interrupted
    _, ledger, _ = search(funnel_problem(evaluator), ledger=ledger.reopened(), evaluator=evaluator)
    assert [(trial.origin, trial.candidate, trial.measurement) for trial in own(ledger)] == [
        (trial.origin, trial.candidate, trial.measurement) for trial in whole
    ]


# Settings


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seed": 3}, "Unknown argument 'seed' of the funnel; known are seeds,"),
        ({"seeds": 0}, "`seeds` of the funnel must be a whole number of at least 1, got 0."),
        ({"explore_every": 2.5}, "`explore_every` of the funnel must be a whole number of at least 1, got 2.5."),
        ({"shortlist": True}, "`shortlist` of the funnel must be a whole number of at least 1, got True."),
        ({"thrift": float("nan")}, "`thrift` of the funnel must be in [0, 1], got nan."),
        ({"leaves": 1}, "`leaves` of the funnel must be true or false, got 1."),
    ],
)
def test_settings_that_cannot_work_are_answered_in_one_line(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        trials_of(arguments=arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_number_of_seeds_is_a_setting() -> None:
    found = trials_of(arguments={"seeds": 3}, trials=8)
    assert origins([trial for trial in found if stages_of(trial.candidate.policy)]).count("seed") == 3
