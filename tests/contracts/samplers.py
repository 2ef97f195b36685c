"""What every sampler of policies promises; a test module supplies its settings.

Subclass :class:`SamplerContract` and give it ``settings``. A sampler that learns from trials subclasses
:class:`LearnerContract` instead; one that is none of Optuna's overrides ``build``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from paretune.search.advisers.sampler import PolicySampler
from paretune.search.proposals.proposer import Proposer
from paretune.search.proposals.references import Proposal
from paretune.search.settings import SamplerSettings, SearchProblem
from paretune.search.simulation import MemoryLedger
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import Trial, TrialState
from tests.fakes import ACCURACY, SIZE, AnalyticEvaluator, layer_specs, with_baseline

Build = Callable[[SearchProblem, MemoryLedger], Proposer]


def of_optuna(problem: SearchProblem, ledger: MemoryLedger) -> Proposer:
    """Build a sampler of Optuna's from what a ledger has."""
    return PolicySampler(problem, ledger.trials())


EVALUATOR = AnalyticEvaluator(layers=layer_specs(3))
TINY: Mapping[str, tuple[Any, ...]] = {
    "sparsity": (0.0, 0.5),
    "clusters": (None,),
    "quantization": (Quantization.FLOAT32, Quantization.INT8),
}


class SamplerContract:
    """The promises of :class:`paretune.search.advisers.sampler.PolicySampler`, whichever sampler is behind it."""

    #: Choices of the space it is tried on, and whether its proposals follow from the seed.
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    follows_the_seed: ClassVar[bool] = True

    @pytest.fixture
    def settings(self) -> SamplerSettings:
        raise NotImplementedError

    @pytest.fixture
    def build(self) -> Build:
        return of_optuna

    def test_a_proposal_is_a_policy_of_the_space_and_no_policy_comes_twice(
        self, settings: SamplerSettings, build: Build
    ) -> None:
        problem = self.problem(settings)
        seen = {EVALUATOR_BASELINE}
        ledger = with_baseline(EVALUATOR)
        for proposal in proposals(problem, ledger, 40, build):
            assert problem.space.policy(proposal.choice) == proposal.policy
            assert proposal.policy.digest not in seen
            seen.add(proposal.policy.digest)

    def test_the_same_seed_gives_the_same_proposals(self, settings: SamplerSettings, build: Build) -> None:
        first = digests(proposals(self.problem(settings, seed=5), with_baseline(EVALUATOR), 25, build))
        assert digests(proposals(self.problem(settings, seed=5), with_baseline(EVALUATOR), 25, build)) == first
        other = digests(proposals(self.problem(settings, seed=6), with_baseline(EVALUATOR), 25, build))
        assert (other != first) is self.follows_the_seed

    @pytest.mark.parametrize("stopped_after", [1, 12, 23])
    def test_a_rebuilt_sampler_goes_on_as_if_it_had_not_stopped(
        self, settings: SamplerSettings, build: Build, stopped_after: int
    ) -> None:
        problem = self.problem(settings)
        whole = digests(proposals(problem, with_baseline(EVALUATOR), 30, build))
        ledger = with_baseline(EVALUATOR)
        before = digests(proposals(problem, ledger, stopped_after, build))
        after = digests(proposals(problem, ledger, 30 - stopped_after, build))
        assert before + after == whole

    def test_a_small_space_is_tried_out_and_then_nothing_more_is_proposed(
        self, settings: SamplerSettings, build: Build
    ) -> None:
        problem = replace(self.problem(settings), space=build_space(EVALUATOR.layers, SpaceSettings(choices=TINY)))
        found = digests(proposals(problem, with_baseline(EVALUATOR), 200, build))
        every = {policy.digest for policy in problem.space.policies()}
        assert len(found) == len(set(found)) == 63
        assert set(found) == every - {EVALUATOR_BASELINE}

    def test_trials_of_every_state_can_be_told(self, settings: SamplerSettings, build: Build) -> None:
        problem = self.problem(settings, constraints=(Constraint(objective="accuracy", bound=Bound.DROP, value=0.1),))
        ledger = with_baseline(EVALUATOR)
        sampler = build(problem, ledger)
        for turn in range(24):
            proposal = sampler.ask()
            assert proposal is not None
            trial = open_trial(problem, ledger, proposal)
            sampler.tell(trial)
            sampler.tell(ledger.close_trial(ended_in_turn(trial, turn)))
        following = sampler.ask()
        assert following is not None
        assert following == build(problem, ledger).ask()

    def test_nothing_is_said_on_the_terminal(
        self, settings: SamplerSettings, build: Build, capfd: pytest.CaptureFixture[str]
    ) -> None:
        digests(proposals(self.problem(settings), with_baseline(EVALUATOR), 15, build))
        captured = capfd.readouterr()
        assert captured.out + captured.err == ""

    def problem(self, settings: SamplerSettings, **changed: Any) -> SearchProblem:
        description = EVALUATOR.describe()
        return SearchProblem(
            description=description,
            space=build_space(description.layers, SpaceSettings(choices=self.choices)),
            objectives=(ACCURACY, SIZE),
            sampler=settings,
            **changed,
        )


class LearnerContract(SamplerContract):
    """What a sampler promises on top when it learns from trials."""

    def test_good_seeds_draw_later_proposals_towards_them(self, settings: SamplerSettings, build: Build) -> None:
        good = LayerPolicy(sparsity=0.5, clusters=16, quantization=Quantization.INT8_QAT)
        problem = self.problem(settings)
        seeded = with_baseline(EVALUATOR)
        add_seeds(problem, seeded, around=good)
        with_seeds = [distance(p, good) for p in proposals(problem, seeded, 40, build)][-20:]
        unseeded = [distance(p, good) for p in random_proposals(problem, 20)]
        assert sum(with_seeds) / 20 < 0.75 * sum(unseeded) / 20

    def test_late_proposals_are_rarely_refused(self, settings: SamplerSettings, build: Build) -> None:
        tried = infeasible_proposals(self.problem(settings), most_bytes=3e3, told_as=TrialState.REFUSED, build=build)
        assert sum(tried[-40:]) <= sum(tried[:40])
        assert sum(tried[-40:]) <= 20


EVALUATOR_BASELINE = with_baseline(EVALUATOR).trials()[0].candidate.policy.digest


def proposals(problem: SearchProblem, ledger: MemoryLedger, count: int, build: Build = of_optuna) -> list[Proposal]:
    """Ask a sampler, rebuilt from the ledger, for up to ``count`` proposals, each evaluated before the next."""
    sampler = build(problem, ledger)
    found: list[Proposal] = []
    while len(found) < count and (proposal := sampler.ask()) is not None:
        found.append(proposal)
        sampler.tell(completed(problem, ledger, proposal))
    return found


def infeasible_proposals(
    problem: SearchProblem,
    *,
    most_bytes: float,
    told_as: TrialState,
    build: Build = of_optuna,
    count: int = 120,
) -> list[bool]:
    """Return which of ``count`` proposals in a row were larger than allowed, and so refused, or told as failed."""
    bound = Constraint(objective="size_bytes", bound=Bound.MAX, value=most_bytes)
    problem = replace(problem, constraints=(bound,))
    ledger = with_baseline(EVALUATOR)
    sampler = build(problem, ledger)
    infeasible = []
    for _ in range(count):
        proposal = sampler.ask()
        assert proposal is not None
        candidate = problem.candidate(proposal.policy)
        infeasible.append(EVALUATOR.evaluate(candidate, Rung.FULL, Limit()).values["size_bytes"] > most_bytes)
        if not infeasible[-1]:
            sampler.tell(completed(problem, ledger, proposal))
        elif told_as is TrialState.REFUSED:
            sampler.tell(
                ledger.refuse(
                    candidate=candidate,
                    rung=Rung.FULL,
                    origin=proposal.origin or "tried",
                    parameters=proposal.choice,
                    reason="too large",
                )
            )
        else:
            trial = open_trial(problem, ledger, proposal)
            sampler.tell(ledger.close_trial(replace(trial, state=told_as, reason="too large")))
    return infeasible


def random_proposals(problem: SearchProblem, count: int) -> list[Proposal]:
    """Return proposals of a sampler that learns nothing."""
    return proposals(replace(problem, sampler=SamplerSettings(name="random")), with_baseline(EVALUATOR), count)


def digests(found: list[Proposal]) -> list[str]:
    """Return the digests of the proposed policies."""
    return [proposal.policy.digest for proposal in found]


def open_trial(problem: SearchProblem, ledger: MemoryLedger, proposal: Proposal, origin: str = "tried") -> Trial:
    """Open a trial of a proposal; ``origin`` is for those that do not say whose idea they were."""
    return ledger.open_trial(
        candidate=problem.candidate(proposal.policy),
        rung=Rung.FULL,
        origin=proposal.origin or origin,
        parameters=proposal.choice,
    )


def completed(problem: SearchProblem, ledger: MemoryLedger, proposal: Proposal, origin: str = "tried") -> Trial:
    """Evaluate a proposal into the ledger."""
    trial = open_trial(problem, ledger, proposal, origin)
    return ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=measured(trial)))


def measured(trial: Trial) -> Measurement:
    """Evaluate a trial's candidate."""
    return EVALUATOR.evaluate(trial.candidate, Rung.FULL, Limit())


def ended_in_turn(trial: Trial, turn: int) -> Trial:
    """Return a running trial ended in one way after the other."""
    if turn % 4 == 0:
        return replace(trial, state=TrialState.FAILED, reason="the worker was lost")
    if turn % 4 == 1:
        return replace(trial, state=TrialState.INTERRUPTED, reason="stopped")
    if turn % 4 == 2:
        unclean = AnalyticEvaluator(layers=EVALUATOR.layers, unclean=lambda policy: True)
        measurement = unclean.evaluate(trial.candidate, Rung.FULL, Limit())
        return replace(trial, state=TrialState.COMPLETE, measurement=measurement)
    return replace(trial, state=TrialState.COMPLETE, measurement=measured(trial))


def add_seeds(problem: SearchProblem, ledger: MemoryLedger, around: LayerPolicy) -> None:
    """Add trials of policies that decide ``around`` about all layers but one, and beat everything else by far."""
    seeds = [problem.space.nearest(around)]
    for parameter in problem.space.parameters:
        _, choice = problem.space.nearest(around)
        choice[parameter.name] = (choice[parameter.name] + 1) % len(parameter.choices)
        seeds.append((problem.space.policy(choice), choice))
    for policy, choice in seeds:
        trial = open_trial(problem, ledger, Proposal(choice, policy), origin="reference")
        measurement = measured(trial)
        better = {**measurement.values, "accuracy": 0.999, "size_bytes": measurement.values["size_bytes"] / 10}
        ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=replace(measurement, values=better)))


def distance(proposal: Proposal, wish: LayerPolicy) -> float:
    """Return the share of knobs in which a proposal differs from deciding ``wish`` everywhere."""
    knobs = [
        (getattr(decided, knob), getattr(wish, knob))
        for decided in proposal.policy.values()
        for knob in ("sparsity", "clusters", "quantization")
    ]
    return float(sum(got != wanted for got, wanted in knobs) / len(knobs))
