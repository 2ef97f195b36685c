"""A run asked again: which finished trial meets new bounds, and what comes nearest where none does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paretune.experiments.better_policy import Untried, find_untried
from paretune.experiments.runs.run import Run
from paretune.search.feasibility import bound_of, excesses, objectives_by_name
from paretune.search.front import Front, find_front, values_of
from paretune.spaces.results.objective import Bound, Constraint, Objective
from paretune.spaces.results.trial import Trial, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound in the objective's own unit.

    Attributes:
        objective: Name of what it bounds.
        value: The most or the least that it may be.
        is_upper: Whether it is the most.
    """

    objective: str
    value: float
    is_upper: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a run knows about new bounds.

    Attributes:
        limits: The bounds; none before the baseline has been measured, which some of them refer to.
        front: What meets them, and the run's own constraints.
        by: What the best one is best by.
        best: The best of the front; ``None`` where nothing meets the bounds.
        nearest: The trial that comes nearest then, if any was measured.
        missed: What that one misses, and by how much in the objective's own unit.
        untried: A policy that no trial has had and that should do better, if there is one.
    """

    limits: tuple[Limit, ...]
    front: Front
    by: Objective
    best: Trial | None
    nearest: Trial | None = None
    missed: tuple[tuple[Limit, float], ...] = ()
    untried: Untried | None = None


def ask_run(
    run: Run, *, max_bytes: float | None = None, max_drop: float | None = None, max_latency: float | None = None
) -> Answer:
    """Answer from the finished trials which of them keeps within bounds, and is best by what no bound names.

    With a bound on the size, that is the most accurate; with one on the metric, the smallest; and so on in the order
    of the run's objectives. Where every objective is bounded, the first one counts.

    Args:
        run: Open for reading.
        max_bytes: Largest deflated file.
        max_drop: Worst change of the task's metric against the baseline, in its own unit.
        max_latency: Slowest, as a multiple of the baseline.
    """
    metric = next(iter(run.facts.description.objectives))
    asked = [
        Constraint(objective=name, bound=bound, value=value)
        for name, bound, value in (
            ("size_bytes", Bound.MAX, max_bytes),
            (metric, Bound.DROP, max_drop),
            ("latency_ratio", Bound.MAX, max_latency),
        )
        if value is not None
    ]
    trials = run.trials()
    front = run.front(trials, also=asked)
    bounded = {constraint.objective for constraint in asked}
    by = next((each for each in front.objectives if each.name not in bounded), front.objectives[0])
    best = _best(front, by)
    if not asked or not trials or trials[0].state is not TrialState.COMPLETE:
        return Answer(limits=(), front=front, by=by, best=best)
    constraints = (*run.facts.constraints, *asked)
    nearest, missed = (None, ()) if best is not None else _nearest(run, trials, constraints)
    return Answer(
        limits=tuple(_limit(run, constraint, trials) for constraint in asked),
        front=front,
        by=by,
        best=best,
        nearest=nearest,
        missed=missed,
        untried=find_untried(run, trials, constraints, by=by, best=best),
    )


def _best(front: Front, by: Objective) -> Trial | None:
    """Return the best by one objective; ties, within its tolerance, go to the better by the others."""
    order = [by, *(objective for objective in front.objectives if objective != by)]
    return min(
        front.trials,
        key=lambda trial: ([objective.cost(values_of(trial)[objective.name]) for objective in order], trial.number),
        default=None,
    )


def _nearest(
    run: Run, trials: Sequence[Trial], constraints: Sequence[Constraint]
) -> tuple[Trial | None, tuple[tuple[Limit, float], ...]]:
    """Return the trial whose excesses, in comparable units, add up to the least; and what it misses."""
    known, baseline = _known(run), values_of(trials[0])
    able = [trial for trial in trials if could_be_on_a_front(trial, run.facts.objectives)]
    distances = [
        sum(max(0.0, excess) for excess in excesses(values_of(trial), constraints, baseline, known).values())
        for trial in able
    ]
    if not able:
        return None, ()
    nearest = able[distances.index(min(distances))]
    missed = []
    for constraint in constraints:
        name = constraint.objective
        by = constraint.violation(values_of(nearest)[name], baseline=baseline[name], direction=known[name].direction)
        if by > 0:
            missed.append((_limit(run, constraint, trials), by))
    return nearest, tuple(missed)


def could_be_on_a_front(trial: Trial, objectives: Sequence[Objective]) -> bool:
    """Return whether a trial would be on the front if it were alone, and nothing were bounded."""
    return bool(find_front((trial,), objectives, (), {}).points)


def _limit(run: Run, constraint: Constraint, trials: Sequence[Trial]) -> Limit:
    value, is_upper = bound_of(constraint, values_of(trials[0]), _known(run))
    return Limit(objective=constraint.objective, value=value, is_upper=is_upper)


def _known(run: Run) -> Mapping[str, Objective]:
    return objectives_by_name(run.facts.description.objectives.values())
