"""Whether measured values keep within the constraints."""

import math
from collections.abc import Iterable, Mapping

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.objective import FILE_OBJECTIVES, Constraint, Objective
from paretune.spaces.suggest import nearest


def objectives_by_name(objectives: Iterable[Objective]) -> dict[str, Objective]:
    """Return every objective a constraint can name: those given, and what any exported file is measured by."""
    return {**FILE_OBJECTIVES, **{objective.name: objective for objective in objectives}}


def is_feasible(
    values: Mapping[str, float],
    constraints: Iterable[Constraint],
    baseline: Mapping[str, float],
    known: Mapping[str, Objective],
) -> bool:
    """Return whether ``values`` break no constraint."""
    return all(excess <= 0 for excess in excesses(values, constraints, baseline, known).values())


def excesses(
    values: Mapping[str, float],
    constraints: Iterable[Constraint],
    baseline: Mapping[str, float],
    known: Mapping[str, Objective],
) -> dict[str, float]:
    """Return by how much ``values`` break each constraint, on a scale that lets them be added up.

    Samplers add the excesses of several constraints; in their own units, bytes would drown accuracy. So an excess is
    the logarithm of value over bound for ``log`` objectives, and otherwise the difference over the baseline's value.

    Args:
        values: Measured, by objective; those that are constrained must be among them.
        constraints: Each bounds one of ``known``.
        baseline: Values of the uncompressed model.
        known: Objectives by name.

    Returns:
        By constraint as it is written; 0 or less is feasible.

    Raises:
        ConfigurationError: If a constraint names an objective that is not known.
    """
    return {str(constraint): _excess(values, constraint, baseline, known) for constraint in constraints}


def bound_of(
    constraint: Constraint, baseline: Mapping[str, float], known: Mapping[str, Objective]
) -> tuple[float, bool]:
    """Return the bound in the objective's own unit, and whether it is an upper one.

    Raises:
        ConfigurationError: If the constraint names an objective that is not known.
    """
    direction = _constrained(constraint, known).direction
    return constraint.absolute(baseline=baseline[constraint.objective], direction=direction)


def _excess(
    values: Mapping[str, float],
    constraint: Constraint,
    baseline: Mapping[str, float],
    known: Mapping[str, Objective],
) -> float:
    objective = _constrained(constraint, known)
    value, before = values[constraint.objective], baseline[constraint.objective]
    violation = constraint.violation(value, baseline=before, direction=objective.direction)
    if violation <= 0:
        return min(violation / (abs(before) or 1.0), 0.0)
    bound, _ = bound_of(constraint, baseline, known)
    if objective.log and bound > 0 and value > 0:
        return abs(math.log(value / bound))
    return violation / (abs(before) or 1.0)


def _constrained(constraint: Constraint, known: Mapping[str, Objective]) -> Objective:
    if constraint.objective not in known:
        raise ConfigurationError(
            f"A constraint must name an objective; '{constraint.objective}' is none of {', '.join(known)}."
            f"{nearest(constraint.objective, known)}"
        )
    return known[constraint.objective]
