"""A trial as an oracle of Keras Tuner sees it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from paretune.search.additive.encoding import choice_of_trial
from paretune.search.feasibility import excesses
from paretune.search.front import reference_point, values_of, volume_row
from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.trial import Trial, TrialState

#: How much the weighted sum counts beside the largest term.
_RHO = 0.05
#: A cost counts up to this many times the way to the reference point: one collapsed model must not make all others
#: look alike.
_WORST = 2.0
#: By how much a refused trial is taken to break its bounds; a size of 1.6 times the bound does so.
_REFUSED = 0.5


@dataclass(frozen=True, slots=True)
class OracleTrial:
    """One trial of an oracle.

    Attributes:
        values: Index of the choice, by parameter in the order of the space.
        status: ``COMPLETED``, ``FAILED`` or ``RUNNING``.
        cost: The one number that the oracle minimises, finite; ``None`` unless it is completed.
    """

    values: tuple[int, ...]
    status: str
    cost: float | None = None


def oracle_trials(trials: Iterable[Trial], problem: SearchProblem, weights: Sequence[float]) -> list[OracleTrial]:
    """Return how trials are told to an oracle, in their order.

    * Complete: completed, at its cost by ``weights``. What breaks a bound, or did not get what was asked, costs more
      than all that keeps the bounds, and the more the more it breaks them (Deb 2000), whatever it is worth otherwise.
    * Refused before training: likewise. The oracles leave out what has failed, and would propose its like again.
    * Failed: failed. Running: running.
    * Interrupted, at another rung, or a policy that the choices cannot express: not at all.

    Args:
        trials: The baseline among them: without it there is nothing to scale by, and nothing is told.
        problem: What is searched.
        weights: Of the objectives, in their order; they add up to 1.

    References:
        Deb (2000), An efficient constraint handling method for genetic algorithms.
    """
    trials = list(trials)
    baseline = next((values_of(trial) for trial in trials if trial.origin == "baseline"), None)
    if not baseline:
        return []
    told = [trial for trial in trials if trial.rung is Rung.FULL and trial.state is not TrialState.INTERRUPTED]
    rows = {
        trial.number: volume_row(values_of(trial), problem.objectives)
        for trial in told
        if trial.state is TrialState.COMPLETE
    }
    ideal = [min(column) for column in zip(volume_row(baseline, problem.objectives), *rows.values(), strict=True)]
    reference = volume_row(reference_point(baseline, problem.objectives), problem.objectives)
    costs = {
        number: scalar_cost(row, ideal=ideal, reference=reference, weights=weights) for number, row in rows.items()
    }
    broken = {trial.number: _broken(trial, problem, baseline) for trial in told}
    worst = max((cost for number, cost in costs.items() if not broken[number]), default=0.0)
    found = []
    for trial in told:
        choice = choice_of_trial(trial, problem.space)
        if choice is not None:
            values = tuple(choice[parameter.name] for parameter in problem.space.parameters)
            cost = worst + broken[trial.number] if broken[trial.number] else costs.get(trial.number)
            found.append(OracleTrial(values, _STATUSES[trial.state], cost))
    return found


_STATUSES: Mapping[TrialState, str] = {
    TrialState.COMPLETE: "COMPLETED",
    TrialState.REFUSED: "COMPLETED",
    TrialState.FAILED: "FAILED",
    TrialState.RUNNING: "RUNNING",
}


def scalar_cost(
    costs: Sequence[float], *, ideal: Sequence[float], reference: Sequence[float], weights: Sequence[float]
) -> float:
    """Return the augmented Tchebycheff cost of a trial, which is 0 at the ideal and at most 2.1.

    It is ``max(w * f) + 0.05 * sum(w * f)`` over the objectives, with ``f`` the way from ideal (0) to reference (1),
    at most 2. Unlike a weighted sum it reaches every point of a front, whatever its shape, by some weights.

    Args:
        costs: By objective, as :func:`paretune.search.front.volume_row` gives them.
        ideal: The lowest cost so far, by objective.
        reference: The cost beyond which a trial is worth nothing, by objective.
        weights: By objective; they add up to 1.

    References:
        Knowles (2006), ParEGO: a hybrid algorithm with on-line landscape approximation for expensive multiobjective
        optimization problems.
    """
    weighted = [
        weight * min((cost - best) / ((worst - best) or 1.0), _WORST)
        for cost, best, worst, weight in zip(costs, ideal, reference, weights, strict=True)
    ]
    return max(weighted) + _RHO * sum(weighted)


def _broken(trial: Trial, problem: SearchProblem, baseline: Mapping[str, float]) -> float:
    """Return by how much a trial breaks its bounds, and the share of layers that did not get what was asked."""
    if trial.measurement is None:
        return _REFUSED if trial.state is TrialState.REFUSED else 0.0
    over = excesses(values_of(trial), problem.constraints, baseline, problem.known_objectives)
    layers = trial.measurement.fidelity.layers
    unclean = sum(bool(layer.faults) for layer in layers) / len(layers) if layers else 0.0
    return sum(max(excess, 0.0) for excess in over.values()) + unclean
