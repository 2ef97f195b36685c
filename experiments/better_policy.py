"""What the funnel knows of policies that nobody has trained: whether one should do better than the best trial."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paretune.experiments.prediction import RunPredictor
from paretune.experiments.runs.run import Run
from paretune.experiments.runs.run_profile import RunProfile, profile_of, trials_of_main_variant
from paretune.search.additive.encoding import IntArray
from paretune.search.additive.solving import solve
from paretune.search.feasibility import bound_of, objectives_by_name
from paretune.search.front import BoolArray, values_of
from paretune.search.learning.prediction import Prediction
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.objective import Constraint, Direction, Objective
from paretune.spaces.results.trial import Trial


@dataclass(frozen=True, slots=True)
class Estimate:
    """A predicted value in the objective's own unit, and how far off such predictions have been in five of six."""

    value: float
    deviation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Untried:
    """A policy that no trial has had.

    Attributes:
        policy: What it decides.
        predicted: What it should measure once trained, by objective.
    """

    policy: Policy
    predicted: Mapping[str, Estimate]


def find_untried(
    run: Run, trials: Sequence[Trial], constraints: Sequence[Constraint], *, by: Objective, best: Trial | None
) -> Untried | None:
    """Return an untried policy that should do better than the best trial, if the run's profile knows of one.

    The candidates are the exact front of the additive problem. What each would measure once trained is predicted by
    :class:`RunPredictor`, whose deviations five of six finished trials have kept. One is named only if it keeps every
    bound, and beats the best trial, even with one deviation of bad luck in each prediction, and beats it by more than
    the objective's tolerance. Of several, the one that would be best with that bad luck.

    Args:
        run: Open for reading.
        trials: Of the run.
        constraints: Every bound to meet.
        by: What to be better by.
        best: The trial to beat; ``None`` if none meets the bounds, and meeting them is enough.

    Returns:
        ``None`` too if there is no profile, or a bound on what it does not tell of.
    """
    own = trials_of_main_variant(trials)
    found = profile_of(run, own)
    metric = next(iter(run.facts.description.objectives))
    names = dict.fromkeys([metric, "size_bytes", by.name, *(constraint.objective for constraint in constraints)])
    if found is None or not all(_is_told(found, name, metric) for name in names):
        return None
    known = objectives_by_name(run.facts.description.objectives.values())
    objectives = tuple(known[name] for name in names)
    baseline = values_of(trials[0])
    rows = _untried_rows(found, own, objectives)
    guess = RunPredictor(run, found, own, objectives).predict(rows)
    able = np.ones(len(rows), dtype=bool)
    for constraint in constraints:
        objective = known[constraint.objective]
        bound, is_upper = bound_of(constraint, baseline, known)
        able &= _keeps(guess, objectives.index(objective), _cost(objective, bound), is_upper, objective.direction)
    column = objectives.index(by)
    unlucky = guess.mean[:, column] + guess.deviation[:, column]
    if best is not None:
        able &= np.maximum(unlucky, guess.mean[:, column] + by.tolerance) < _cost(by, values_of(best)[by.name])
    if not able.any():
        return None
    chosen = int(np.flatnonzero(able)[unlucky[able].argmin()])
    return Untried(
        policy=found.plan.encoding.policy_of(rows[chosen].tolist()),
        predicted={
            objective.name: _estimate(objective, guess.mean[chosen, place], guess.deviation[chosen, place])
            for place, objective in enumerate(objectives)
        },
    )


def _is_told(found: RunProfile, name: str, metric: str) -> bool:
    """Return whether the profile tells of an objective."""
    if name == "latency_ratio":
        return any(name in proxy.values for proxy in found.proxies.values())
    return name in (metric, "loss", "size_bytes", *found.profile.amounts)


def _untried_rows(found: RunProfile, trials: Sequence[Trial], objectives: Sequence[Objective]) -> IntArray:
    encoding = found.plan.encoding
    tried = {encoding.row_of_trial(trial) for trial in trials}
    rows = solve(found.plan.encoding, found.profile, objectives).options
    return rows[[tuple(row) not in tried for row in rows.tolist()]]


def _keeps(guess: Prediction, column: int, bound: float, is_upper: bool, direction: Direction) -> BoolArray:
    """Mark the predictions that keep a bound by one deviation."""
    mean, deviation = guess.mean[:, column], guess.deviation[:, column]
    is_ceiling = is_upper is (direction is Direction.MINIMIZE)  # of what is minimised
    return np.asarray(mean + deviation <= bound if is_ceiling else mean - deviation >= bound)


def _cost(objective: Objective, value: float) -> float:
    """Return the place of a value as predictions tell it, without rounding it to the tolerance."""
    cost = value if objective.direction is Direction.MINIMIZE else -value
    if objective.log:
        return math.log2(cost) if cost > 0 else -math.inf
    return cost


def _estimate(objective: Objective, mean: float, deviation: float) -> Estimate:
    if objective.log:
        return Estimate(float(2**mean), float(2 ** (mean + deviation) - 2**mean))
    return Estimate(float(mean if objective.direction is Direction.MINIMIZE else -mean), float(deviation))
