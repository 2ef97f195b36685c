"""Lanes: what a search knows of each variant, side by side; without hyperparameters there is one."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass, replace
from typing import Any

from paretune.search.front import values_of
from paretune.search.funnel.ladder import Ladder
from paretune.search.funnel.sampler import FunnelSampler
from paretune.search.learning.experience import Experience
from paretune.search.proposals.proposer import Proposer
from paretune.search.proposals.proposers import build_proposer
from paretune.search.proxies import SECONDS_BETWEEN_LOOKS, ProxyBook
from paretune.search.settings import SearchProblem
from paretune.search.variants.scout import Scout
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.variant import Variant, values_of_model
from paretune.spaces.errors import ConfigurationError, TrialError
from paretune.spaces.policies.layers import untouched_policy
from paretune.spaces.results.evaluator import EvaluationService
from paretune.spaces.results.ledger import Ledger
from paretune.spaces.results.trial import Trial, TrialState

#: The origin of trials of base models that were built for the search.
BASE = "base"
#: By what factor a policy may promise less if it is the first of its variant: there is more to learn from it.
_NEWNESS = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """A variant whose base model has been measured, and everything that the search knows about its policies.

    Attributes:
        values: Of the variant's hyperparameters.
        problem: The search's problem, about this variant.
        proxies: What its policies measure untrained.
        proposer: Who proposes policies.
        ladder: Which rung they are tried at.
    """

    values: Mapping[str, Any]
    problem: SearchProblem
    proxies: ProxyBook
    proposer: Proposer
    ladder: Ladder

    def owns(self, candidate: Candidate) -> bool:
        """Return whether a candidate is a policy of this variant."""
        return candidate.base == (self.problem.description.architecture, self.problem.recipe)

    def tell(self, trial: Trial) -> None:
        """Take note of a trial, of whatever variant, or of how one that was told before has ended."""
        if self.owns(trial.candidate):
            self.proposer.tell(trial)
            self.ladder.tell(trial)
        elif self.funnel is not None:
            self.funnel.tell_rival(trial)

    @property
    def funnel(self) -> FunnelSampler | None:
        """The proposer, where it is a funnel: only these share a search with other variants."""
        return self.proposer if isinstance(self.proposer, FunnelSampler) else None

    def promise(self) -> float:
        """Return the score of the best policy that could be tried next; 0 before that is known."""
        return self.funnel.promise() if self.funnel is not None else 0.0

    def expected_volume(self) -> float:
        """Return the hypervolume that the variant is expected to cover on its own; 0 before that is known."""
        return self.funnel.expected_volume() if self.funnel is not None else 0.0


class Lanes:
    """Opens a lane for a variant at a time, and knows which one a policy should be taken from next.

    Args:
        problem: About the baseline's variant.
        service: Builds and trains base models, and evaluates candidates.
        ledger: Keeps variants and proxies.
        trials: So far, the baseline first.
        must_stop: Looked at about once a second while something is built or measured.
        on_build: Told of the values of a base model that is to be built, and of why it could not be.
    """

    def __init__(
        self,
        problem: SearchProblem,
        service: EvaluationService,
        ledger: Ledger,
        trials: Sequence[Trial],
        must_stop: Callable[[], bool],
        on_build: Callable[[Mapping[str, Any], str], None],
    ) -> None:
        self._problem, self._service, self._ledger = problem, service, ledger
        self._must_stop, self._on_build = must_stop, on_build
        self._baseline = values_of(trials[0])
        self._scout = Scout(problem.hyperspace)
        self._trials = {trial.number: trial for trial in trials}
        own = Variant(values=problem.values, description=problem.description)
        self._lanes = [self._lane(own, problem)]
        self._waiting: list[Variant] = []
        self._unbuildable: list[Mapping[str, Any]] = []
        self._is_hurried = False
        for variant in ledger.variants():
            self._await_base(variant)

    @property
    def main(self) -> Lane:
        """That of the baseline's variant."""
        return self._lanes[0]

    def of(self, candidate: Candidate) -> Lane:
        """Return the lane of a candidate's variant."""
        return next(lane for lane in self._lanes if lane.owns(candidate))

    def tell(self, trial: Trial) -> None:
        """Take note of a trial, or of how one that was told before has ended."""
        self._trials[trial.number] = trial
        for lane in self._lanes:
            lane.tell(trial)
        if trial.candidate.is_base_model:
            self._open_what_can_be()

    def grow(self, *, trained: int) -> Candidate | None:
        """Build the next variant, if it is time for one.

        Args:
            trained: Trained trials so far.

        Returns:
            A base model that must be measured before its lane opens, if there is one.

        Raises:
            RunError: If the ledger cannot write.
        """
        is_due = self._scout.is_due(opened=self._opened, trained=trained)
        if is_due or (self._is_hurried and not self._waiting):
            self._is_hurried = False
            self._build_next()
        bases = (self._base_of(variant) for variant in self._waiting)
        return next((base for base in bases if self._trial_of(base) is None), None)

    def in_order(self, on_proxy: Callable[[int, int], None]) -> list[Lane]:
        """Return the lanes, the one whose next policy promises most first; none if there was no time to tell.

        Args:
            on_proxy: Told how many of how many policies of a profile are measured.
        """
        if len(self._lanes) == 1:
            return list(self._lanes)
        for lane in self._lanes:
            has_to_ask = lane.funnel is not None and not lane.funnel.is_profiled
            if has_to_ask and not lane.proxies.measure(lane.proposer.wanted(), on_progress=on_proxy):
                return []
        # of equal ones the older first
        worth = {id(lane): lane.promise() * (_NEWNESS if self._is_new(lane) else 1) for lane in self._lanes}
        return sorted(self._lanes, key=lambda lane: worth[id(lane)], reverse=True)

    def _is_new(self, lane: Lane) -> bool:
        trials = self._trials.values()
        return not any(lane.owns(trial.candidate) and not trial.candidate.policy.is_untouched for trial in trials)

    @property
    def are_waiting(self) -> bool:
        """Whether base models are being measured whose lanes are still to open."""
        bases = (self._trial_of(self._base_of(variant)) for variant in self._waiting)
        return any(base is not None and base.state is TrialState.RUNNING for base in bases)

    def hurry(self) -> bool:
        """Let the next variant be built at once, because no other has a policy left; return whether there is one."""
        self._is_hurried = not self.are_waiting and self._opened < self._scout.variants
        return self._is_hurried

    @property
    def _opened(self) -> int:
        return len(self._lanes) + len(self._waiting) + len(self._unbuildable)

    def close(self) -> None:
        """Let go of the samplers."""
        for lane in self._lanes:
            lane.proposer.close()

    def _build_next(self) -> None:
        told: list[tuple[Mapping[str, Any], float | None]] = [
            (lane.values, lane.expected_volume()) for lane in self._lanes
        ]
        told += [(values, None) for values in (*(waiting.values for waiting in self._waiting), *self._unbuildable)]
        values = self._scout.next(told)
        if values is None:
            return
        self._on_build(values, "")
        variant = self._known_model(values) or self._built(values)
        if variant is not None:
            self._ledger.keep_variant(variant)
            self._await_base(variant)

    def _known_model(self, values: Mapping[str, Any]) -> Variant | None:
        """Return the variant, if its base model is that of another lane."""
        model = values_of_model(values)
        for lane in self._lanes:
            if values_of_model(lane.values) == model:
                return Variant(values=values, description=lane.problem.description)
        return None

    def _built(self, values: Mapping[str, Any]) -> Variant | None:
        """Return the variant of a new base model; ``None`` if it cannot be built, or there was no time to."""
        limit = Limit(seconds=self._problem.trial_seconds)
        future = self._service.submit_description(values_of_model(values), limit)
        while not wait([future], timeout=SECONDS_BETWEEN_LOOKS).done:
            if self._must_stop():
                future.cancel()
                return None
        try:
            variant = Variant(values=values, description=future.result())
            self._problem.of_variant(variant)
        except CancelledError:
            return None
        except (TrialError, ConfigurationError) as error:
            self._unbuildable.append(values)
            self._on_build(values, str(error))
            return None
        return variant

    def _await_base(self, variant: Variant) -> None:
        self._waiting.append(variant)
        self._open_what_can_be()

    def _open_what_can_be(self) -> None:
        """Open the lanes whose base models have been measured; those that cannot be measured are never opened."""
        for variant in tuple(self._waiting):
            base = self._trial_of(self._base_of(variant))
            if base is not None and base.state is TrialState.COMPLETE:
                self._waiting.remove(variant)
                self._lanes.append(self._lane(variant, self._problem.of_variant(variant)))

    def _lane(self, variant: Variant, problem: SearchProblem) -> Lane:
        description = variant.description
        proxies = ProxyBook(problem, self._service, self._ledger, self._must_stop)
        base = self._trials[0]
        if description.architecture != self._problem.description.architecture:
            base = next(trial for trial in self._trials.values() if _is_base(trial.candidate, description.architecture))
        own, others = [base], list[Trial]()
        for trial in self._trials.values():
            if trial.number != base.number:
                is_own = trial.candidate.base == (description.architecture, problem.recipe)
                (own if is_own else others).append(trial)
        proposer = build_proposer(problem, own, proxies.known, baseline=self._baseline)
        lane = Lane(variant.values, problem, proxies, proposer, Ladder(problem, values_of(base), own, proxies.known))
        for trial in others:
            lane.tell(trial)
        if lane.funnel is not None:
            is_main = variant.values == self._problem.values
            lane.funnel.learn_from(lambda: self._experience_beside(lane), needs_seeds=is_main)
        return lane

    def _experience_beside(self, own: Lane) -> list[Experience]:
        return [lane.funnel.experience() for lane in self._lanes if lane is not own and lane.funnel is not None]

    def _base_of(self, variant: Variant) -> Candidate:
        """Return the base model of a variant as a candidate: no layer is touched."""
        description = variant.description
        # whatever the variant's own recipe, its base model is one: it is measured once
        return replace(
            self._problem.candidate(untouched_policy(description.layers)),
            architecture=description.architecture,
            hyperparameters={**self._problem.values, **description.hyperparameters},
        )

    def _trial_of(self, base: Candidate) -> Trial | None:
        """Return the trial of a base model, unless it has to be repeated."""
        for trial in self._trials.values():
            if _is_base(trial.candidate, base.architecture) and trial.state is not TrialState.INTERRUPTED:
                return trial
        return None


def _is_base(candidate: Candidate, architecture: str) -> bool:
    return candidate.architecture == architecture and candidate.policy.is_untouched
