"""A trial as Optuna sees it."""

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from paretune.search.additive.encoding import choice_of_trial
from paretune.search.feasibility import excesses
from paretune.search.front import values_of
from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.space import Space
from paretune.spaces.results.objective import Direction, Objective
from paretune.spaces.results.trial import Trial, TrialState


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """Return what Optuna draws from, by parameter: the index of a choice.

    It is a number where neighbouring choices are alike, a category where they are not.
    """
    return {
        parameter.name: IntDistribution(0, len(parameter.choices) - 1)
        if parameter.is_ordered
        else CategoricalDistribution(tuple(range(len(parameter.choices))))
        for parameter in space.parameters
    }


def optuna_trial(
    trial: Trial,
    problem: SearchProblem,
    distributions: Mapping[str, BaseDistribution],
    baseline: Mapping[str, float],
) -> FrozenTrial | None:
    """Return how a trial is told to Optuna, or ``None`` where there is nothing to learn from it.

    * Complete: its values, rounded to the noise, sizes as logarithms; and as constraints by how much it breaks each
      bound, and the share of layers that did not get what was asked. So what is infeasible steers away, and is not
      hidden.
    * Refused before training: pruned, with a broken constraint. Told as failed, nearly all later proposals would be
      refused too.
    * Failed: failed. Running: running, so that TPE keeps away from it.
    * Interrupted, at another rung, or a policy that the choices cannot express: not at all.
    """
    choice = choice_of_trial(trial, problem.space)
    if choice is None or trial.rung is not Rung.FULL or trial.state is TrialState.INTERRUPTED:
        return None
    told: dict[str, Any] = {"params": dict(choice), "distributions": dict(distributions), "state": _STATES[trial.state]}
    if trial.state in (TrialState.COMPLETE, TrialState.REFUSED):
        told["constraints"] = _constraints(trial, problem, baseline)
    if trial.state is TrialState.COMPLETE:
        told["values"] = [_told_value(objective, values_of(trial)) for objective in problem.objectives]
    return create_trial(**told)


_STATES: Mapping[TrialState, OptunaState] = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.REFUSED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.RUNNING: OptunaState.RUNNING,
}


def _constraints(trial: Trial, problem: SearchProblem, baseline: Mapping[str, float]) -> dict[str, float]:
    """Return by how much a trial breaks each constraint; every trial has the same ones: some samplers insist on it."""
    if trial.measurement is None:
        names = [str(constraint) for constraint in problem.constraints]
        return {**dict.fromkeys(names, 0.0), "refused": 1.0, "fidelity": 0.0}
    layers = trial.measurement.fidelity.layers
    unclean = sum(bool(layer.faults) for layer in layers) / len(layers) if layers else 0.0
    broken = excesses(values_of(trial), problem.constraints, baseline, problem.known_objectives)
    return {**broken, "refused": 0.0, "fidelity": unclean}


def _told_value(objective: Objective, values: Mapping[str, float]) -> float:
    cost = objective.cost(values[objective.name])
    value = cost if objective.direction is Direction.MINIMIZE else -cost
    return math.log2(value) if objective.log else value
