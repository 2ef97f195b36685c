"""Policies that are refused before training, because their files would be too large, or take too much to run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paretune.search.feasibility import bound_of
from paretune.search.front import values_of
from paretune.search.settings import SearchProblem
from paretune.spaces.results.objective import Constraint
from paretune.spaces.results.trial import Trial, TrialState

#: What an untrained file estimates; of settled objectives it has the value itself.
SIZES = ("size_bytes", "raw_bytes", "entropy_bytes")

#: Key in a measurement's details: the sizes estimated before training.
ESTIMATED = "estimated"

#: How far above a bound an estimate must be while nothing is known of estimates here: sizes before and after
#: training were within 8 % of each other (deflated, small CNN).
FIRST_MARGIN = 1.15
_ENOUGH = 5
_SLACK = 0.95
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class SizeBound:
    """An upper bound on a size or a settled objective, and the constraint it comes from.

    Attributes:
        constraint: As written.
        most: The bound, in the objective's unit.
        settled: Whether the objective is the same before training and after.
    """

    constraint: Constraint
    most: float
    settled: bool = False

    @property
    def objective(self) -> str:
        """Name of the size that is bounded."""
        return self.constraint.objective

    def __str__(self) -> str:
        is_relative = self.constraint.bound not in ("max", "min")
        if is_relative:
            return f"{self.constraint} ({amount_text(self.objective, self.most)})"
        return f"{self.objective} {self.constraint.bound} {amount_text(self.objective, self.most)}"


def size_bounds(problem: SearchProblem, baseline: Mapping[str, float]) -> tuple[SizeBound, ...]:
    """Return the upper bounds that the constraints put on what untrained files tell."""
    bounds = []
    for constraint in problem.constraints:
        settled = problem.known_objectives[constraint.objective].settled
        if settled or constraint.objective in SIZES:
            most, is_upper = bound_of(constraint, baseline, problem.known_objectives)
            if is_upper:
                bounds.append(SizeBound(constraint, most, settled))
    return tuple(bounds)


class SizeGate:
    """Compares sizes estimated before training with the bounds on them.

    A policy is refused only when its estimate exceeds a bound by more than a margin. The margin follows from finished
    trials, which keep their estimates: the file that shrank most from estimate to measurement, and a little more. It
    is never below 1, so what is estimated to fit is always tried. Settled objectives have none.

    Attributes:
        bounds: What estimates are compared with.
    """

    def __init__(self, bounds: Sequence[SizeBound], trials: Sequence[Trial]) -> None:
        """Start from the trials so far."""
        self.bounds = tuple(bounds)
        self._ratios: dict[str, list[float]] = {bound.objective: [] for bound in bounds}
        for trial in trials:
            self.learn(trial)

    @property
    def is_open(self) -> bool:
        """Whether nothing is ever refused, so that nothing need be estimated."""
        return not self.bounds

    def learn(self, trial: Trial) -> None:
        """Take note of how a finished trial's sizes compare with their estimates."""
        if trial.state is not TrialState.COMPLETE or trial.measurement is None:
            return
        estimated = trial.measurement.details.get(ESTIMATED, {})
        for objective, ratios in self._ratios.items():
            if estimated.get(objective, 0.0) > 0:
                ratios.append(values_of(trial)[objective] / estimated[objective])

    def margin(self, objective: str) -> float:
        """Return by what factor an estimate may exceed a bound before it counts."""
        if any(bound.settled for bound in self.bounds if bound.objective == objective):
            return 1.0 + _ROUNDING
        ratios = self._ratios[objective]
        learnt = 1 / (min(ratios) * _SLACK) if ratios else FIRST_MARGIN
        return max(1.0, learnt if len(ratios) >= _ENOUGH else max(learnt, FIRST_MARGIN))

    def exceeded(self, estimated: Mapping[str, float]) -> tuple[SizeBound, ...]:
        """Return the bounds that an estimate exceeds by more than the margin."""
        return tuple(
            bound for bound in self.bounds if estimated[bound.objective] > bound.most * self.margin(bound.objective)
        )

    def objection(self, estimated: Mapping[str, float]) -> str:
        """Return why a policy of these estimated sizes is refused, or an empty string when it is not."""
        told = []
        for bound in self.exceeded(estimated):
            found, most = (amount_text(bound.objective, each) for each in (estimated[bound.objective], bound.most))
            told.append(f"{bound.objective} {'' if bound.settled else 'estimated '}{found}, at most {most}")
        return "; ".join(told)


def amount_text(name: str, amount: float) -> str:
    """Return an amount for people: bytes where the name says so, else a plain number."""
    return in_bytes(amount) if name.endswith("_bytes") else f"{amount:.4g}"


def in_bytes(count: float) -> str:
    """Return a number of bytes for people: ``812 bytes``, ``31.4 kB``, ``4.3 MB``."""
    if count < 1e3:
        return f"{count:.0f} bytes"
    number, unit = (count / 1e3, "kB") if count < 1e6 else (count / 1e6, "MB")
    return f"{f'{number:.1f}'.removesuffix('.0')} {unit}"
