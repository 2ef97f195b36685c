"""What a run has spent, and what a trial may still spend."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import most_steps
from paretune.spaces.results.ledger import Ledger
from paretune.spaces.results.trial import Trial, TrialState, stem_trained_by

#: Seconds between two writes of the time searched: what a kill can lose.
SECONDS_BETWEEN_WRITES = 5.0
#: Evaluations that trained nothing, or only a little, are free, but a search of nothing else must end too.
MOST_UNTRAINED_PER_TRIAL = 5

_RAN_OUT = "the budget of {} ran out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one evaluation may spend, and whose limit each part is.

    Attributes:
        limit: For the evaluator.
        seconds_are_the_runs: Whether the seconds are what is left of the run's, not the trial's own deadline.
        granted_at: When, by the search's clock.
        is_free: Whether it needs no training, and so no share of the budget's trials.
    """

    limit: Limit
    seconds_are_the_runs: bool
    granted_at: float
    is_free: bool = False

    def ended_by_time(self, now: float) -> bool:
        """Return whether an evaluation that reached its limit at ``now`` can have run out of seconds."""
        return self.limit.seconds is not None and now - self.granted_at >= 0.99 * self.limit.seconds


class Account:
    """Keeps the books of one run against its budget.

    Trials count once they have trained; free leaves, which share a stem with an earlier trial, do not. The steps of
    complete trials count; what failed or interrupted trials spent is not known. Time counts while a search runs, over
    all resumptions.
    """

    def __init__(self, problem: SearchProblem, ledger: Ledger, clock: Callable[[], float], workers: int) -> None:
        """Open the books with what the ledger has."""
        self._budget = problem.budget
        self._trial_seconds = problem.trial_seconds
        self._most_steps = _most_steps(problem)
        self._workers = workers
        self._ledger = ledger
        self._clock = clock
        self._written = ledger.seconds_searched()
        self._since = clock()
        self._stems: set[str] = set()
        self.untrained = 0
        self._short = 0
        self.training_steps = 0
        for trial in ledger.trials():
            self.record(trial)

    def record(self, trial: Trial) -> None:
        """Count a trial that has ended."""
        if trial.state is not TrialState.COMPLETE or trial.measurement is None:
            return
        stem = stem_trained_by(trial)
        if stem:
            self._stems.add(stem)
        elif trial.origin != "baseline":
            self.untrained += 1
            self._short += trial.rung is Rung.SHORT
        self.training_steps += trial.measurement.training_steps

    @property
    def trained(self) -> int:
        """Trials that count."""
        return len(self._stems)

    def is_free(self, candidate: Candidate) -> bool:
        """Return whether a candidate needs no training after those that are on the books."""
        if candidate.is_base_model:
            return candidate.architecture in self._stems
        return not stages_of(candidate.policy) or candidate.stem_digest in self._stems

    @property
    def seconds(self) -> float:
        """Wall seconds searched so far, over all resumptions."""
        return self._written + self._clock() - self._since

    def write(self, *, at_least: float = 0.0) -> None:
        """Write the time searched down once ``at_least`` seconds of it are not."""
        now = self._clock()
        if now - self._since > at_least:
            self._ledger.add_seconds_searched(now - self._since)
            self._written += now - self._since
            self._since = now

    def exhausted(self, *, for_free: bool = False) -> str:
        """Return what has run out, for people, or an empty string while something is left.

        Args:
            for_free: Whether what is to come needs no training, so that the number of trials does not matter.
        """
        budget = self._budget
        if for_free:
            budget = replace(budget, trials=None)
        if budget.trials is not None and self.untrained >= MOST_UNTRAINED_PER_TRIAL * budget.trials:
            how = "were not trained in full" if self._short else "needed no training"
            return f"{budget.trials} trials ({self.untrained} more {how})"
        return budget.exhausted_by(trials=self.trained, minutes=self.seconds / 60, training_steps=self.training_steps)

    def exhausted_before(self, trials: Sequence[Trial]) -> str:
        """Return what had run out when the run last stopped, or an empty string if there is more now.

        A trial that used up what was left was interrupted, and its steps are in no book. Its reason tells; a budget
        that was raised since reads differently.
        """
        limits = [self._minutes(), self._steps()]
        told = {trial.reason for trial in trials if trial.state is TrialState.INTERRUPTED}
        return next((limit for limit in limits if limit and self.ran_out(limit) in told), "")

    @staticmethod
    def ran_out(what: str) -> str:
        """Return the reason of a trial that was interrupted because a limit of the run was reached."""
        return _RAN_OUT.format(what)

    def limit_reached(self, grant: Grant) -> str:
        """Return which limit of the run ended an evaluation, or an empty string if it was the trial's own deadline."""
        if grant.ended_by_time(self._clock()):
            return self._minutes() if grant.seconds_are_the_runs else ""
        return self._steps()

    def _minutes(self) -> str:
        return "" if self._budget.minutes is None else f"{self._budget.minutes:g} minutes"

    def _steps(self) -> str:
        return "" if self._budget.training_steps is None else f"{self._budget.training_steps} training steps"

    def grant(self, in_flight: Sequence[Grant], *, is_free: bool = False) -> Grant | None:
        """Return what one more evaluation may spend beside those in flight, or ``None`` if it has to wait for them.

        No more trials are in flight than the budget still has, and together they may not spend more steps than are
        left.
        """
        budget = self._budget
        trained = self.trained + sum(not other.is_free for other in in_flight)
        if budget.trials is not None and not is_free and trained >= budget.trials:
            return None
        steps = None
        if budget.training_steps is not None:
            reserved = sum(other.limit.training_steps or 0 for other in in_flight)
            steps = budget.training_steps - self.training_steps - reserved
            if steps <= 0:
                return None
            if self._workers > 1 and self._most_steps is not None:
                steps = min(steps, self._most_steps)
        seconds = None if budget.minutes is None else max(60 * budget.minutes - self.seconds, 0.0)
        is_the_runs = seconds is not None and (self._trial_seconds is None or seconds < self._trial_seconds)
        return Grant(
            limit=Limit(seconds=seconds if is_the_runs else self._trial_seconds, training_steps=steps),
            seconds_are_the_runs=is_the_runs,
            granted_at=self._clock(),
            is_free=is_free,
        )


def _most_steps(problem: SearchProblem) -> int | None:
    """Return how many steps a trial with every stage takes, and half as many to spare; ``None`` where unknown."""
    samples = problem.description.samples.get("train")
    if not samples:
        return None
    return math.ceil(1.5 * most_steps(problem.recipe, problem.hyperspace, samples)) + 10
