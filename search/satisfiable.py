"""Constraints that no policy can meet, found before anything is trained."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from paretune.search.feasibility import bound_of
from paretune.search.refusal import FIRST_MARGIN, SizeBound, SizeGate, amount_text, size_bounds
from paretune.search.settings import SearchProblem
from paretune.spaces.errors import Unsatisfiable
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.objective import Constraint, Direction
from paretune.spaces.results.trial import Trial, TrialState

#: Metrics that cannot be above 1, whatever the model. What is minimised (bytes, time, errors) cannot be below 0.
_AT_MOST_ONE = frozenset(
    {"accuracy", "balanced_accuracy", "top_5_accuracy", "precision", "recall", "f1", "auc", "roc_auc", "r2"}
)
_ERRORS = frozenset({"mae", "mse", "rmse", "log_loss", "mean_absolute_error", "mean_squared_error"})


def check_satisfiable(
    problem: SearchProblem,
    trials: Sequence[Trial],
    baseline: Mapping[str, float],
    estimate: Callable[[Policy], Mapping[str, float] | None],
) -> None:
    """Raise if it can be shown that no policy meets the constraints.

    Args:
        problem: The constraints, and the space.
        trials: The trials so far; one that met every bound on a size is proof enough that these can be met.
        baseline: Values of the uncompressed model.
        estimate: Returns the sizes of a policy before training, or ``None`` where it cannot.

    Raises:
        Unsatisfiable: Names every constraint concerned, what can be reached, and what to do.
    """
    offences = [*_impossible(problem, baseline), *_contradictory(problem, baseline)]
    if not offences:
        offences = _too_small(problem, trials, baseline, estimate)
    if offences:
        raise Unsatisfiable(" ".join(offences))


def _impossible(problem: SearchProblem, baseline: Mapping[str, float]) -> Iterable[str]:
    for constraint in problem.constraints:
        bound, is_upper = bound_of(constraint, baseline, problem.known_objectives)
        name = constraint.objective
        is_error = name in _ERRORS and problem.known_objectives[name].direction is Direction.MINIMIZE
        is_amount = problem.known_objectives[name].log or name == "latency_ratio"
        if name in _AT_MOST_ONE and not is_upper and bound > 1:
            yield f"No policy can satisfy {constraint}: `{name}` is never above 1. Lower it."
        elif is_upper and ((is_error and bound < 0) or (is_amount and bound <= 0)):
            yield f"No policy can satisfy {constraint}: `{name}` is never below 0. Raise it."


def _contradictory(problem: SearchProblem, baseline: Mapping[str, float]) -> Iterable[str]:
    by_objective: dict[str, list[Constraint]] = {}
    for constraint in problem.constraints:
        by_objective.setdefault(constraint.objective, []).append(constraint)
    for constraints in by_objective.values():
        bounds = [(*bound_of(constraint, baseline, problem.known_objectives), constraint) for constraint in constraints]
        lower = max((entry for entry in bounds if not entry[1]), key=lambda entry: entry[0], default=None)
        upper = min((entry for entry in bounds if entry[1]), key=lambda entry: entry[0], default=None)
        if lower is not None and upper is not None and lower[0] > upper[0]:
            yield f"No policy can satisfy both {lower[2]} and {upper[2]}: nothing lies between them. Relax one."


def _too_small(
    problem: SearchProblem,
    trials: Sequence[Trial],
    baseline: Mapping[str, float],
    estimate: Callable[[Policy], Mapping[str, float] | None],
) -> list[str]:
    """Say which bounds on sizes are below what even the smallest policies reach."""
    if problem.hyperspace:
        return []  # another model may be small enough
    bounds = size_bounds(problem, baseline)
    if not bounds or any(_fits(trial, bounds) for trial in trials):
        return []
    gate = SizeGate(bounds, trials)
    smallest: dict[str, float] = {}
    for policy in problem.space.smallest():
        sizes = estimate(policy)
        if sizes is None:
            continue
        if not gate.exceeded(sizes):
            return []
        for bound in bounds:
            smallest[bound.objective] = min(sizes[bound.objective], smallest.get(bound.objective, float("inf")))
    if not smallest:
        return []
    offences = []
    for bound in gate.exceeded(smallest):
        found = smallest[bound.objective]
        if bound.settled and found <= FIRST_MARGIN * bound.most:
            continue  # the extremes of the space need not be the least of what does not add up
        least = amount_text(bound.objective, found)
        what = f"the least reachable {bound.objective}" if bound.settled else "the smallest reachable file"
        offences.append(
            f"No policy can satisfy {bound}: {what} is about {least}. Raise it above {least} or widen the space."
        )
    return offences


def _fits(trial: Trial, bounds: Sequence[SizeBound]) -> bool:
    if trial.state is not TrialState.COMPLETE or trial.measurement is None:
        return False
    values = trial.measurement.values
    return all(values.get(bound.objective, float("inf")) <= bound.most for bound in bounds)
