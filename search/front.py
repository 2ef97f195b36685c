"""The front: the trials that no other one beats, its knee, and the volume it covers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paretune.search.feasibility import is_feasible, objectives_by_name
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.objective import Constraint, Direction, Objective
from paretune.spaces.results.trial import Trial, TrialState
from paretune.spaces.suggest import nearest

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


_FILE_BYTES = ("size_bytes", "raw_bytes", "entropy_bytes")
#: What stands for 0 where ratios matter: a model without a single multiplication has a logarithm all the same.
_LEAST = 1e-9


def non_dominated(costs: FloatArray) -> BoolArray:
    """Mark the rows of ``costs`` that no other row dominates.

    A row dominates another when it is no worse in every column and better in at least one; all columns are
    minimised. Equal rows do not dominate each other, so duplicates are all kept.

    Args:
        costs: Shape (trials, objectives), finite.

    Returns:
        Boolean mask of shape (trials,).

    Raises:
        ValueError: If ``costs`` is not two-dimensional or contains NaN or infinity.

    References:
        Deb et al. (2002), A fast and elitist multiobjective genetic algorithm: NSGA-II, sec. III-A.
    """
    costs = np.asarray(costs, dtype=np.float64)
    if costs.ndim != 2 or not np.isfinite(costs).all():
        raise ValueError(f"costs must be a finite array of (trials, objectives), got shape {costs.shape}")
    kept = np.ones(len(costs), dtype=bool)
    for index, row in enumerate(costs):
        if kept[index]:
            # Rows that are already out dominate nothing that their dominator does not: they need not be looked at.
            no_better = (costs[kept] >= row).all(axis=1) & (costs[kept] > row).any(axis=1)
            kept[np.flatnonzero(kept)[no_better]] = False
    return kept


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One trial on the front, and whether it is the knee."""

    trial: Trial
    knee: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The non-dominated among the feasible, fidelity-clean ``full`` trials, one per policy.

    Attributes:
        objectives: What was compared; the task's metric first.
        baseline: The uncompressed model's trial, shown beside the front; ``None`` before it has been measured.
        points: Smallest file first; at most one is the knee, none only when there are no points.
    """

    objectives: tuple[Objective, ...]
    baseline: Trial | None
    points: tuple[FrontPoint, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials on the front, smallest file first."""
        return tuple(point.trial for point in self.points)

    @property
    def knee(self) -> Trial | None:
        """The trial at the knee; ``None`` on an empty front."""
        return next((point.trial for point in self.points if point.knee), None)


def find_front(
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    baseline: Mapping[str, float],
    known: Mapping[str, Objective] | None = None,
) -> Front:
    """Find the front of ``trials``.

    Values are compared as costs (:meth:`Objective.cost`), so that differences within an objective's tolerance are
    ties. Among trials of equal costs the one with the better values is kept: by the first objective, then by the
    others, then the lower trial number. The baseline, and any policy that leaves every layer untouched, is never on
    the front.

    Args:
        trials: In any order, of any state.
        objectives: What is compared; the task's metric first.
        constraints: On these objectives or on any other one that files are measured by.
        baseline: Values of the uncompressed model, which relative constraints refer to.
        known: Every objective that a constraint may name, by name, where there are others than what all files have.

    Raises:
        ConfigurationError: If a constraint names an objective that is not known.
    """
    known = {**objectives_by_name(objectives), **(known or {})}
    eligible = [
        trial for trial in trials if _is_eligible(trial) and is_feasible(values_of(trial), constraints, baseline, known)
    ]
    eligible.sort(key=lambda trial: (*_exact_costs(trial, objectives), trial.number))
    found: list[Trial] = []
    if eligible:
        costs = np.array([_costs(trial, objectives) for trial in eligible])
        _, first_of_each = np.unique(costs, axis=0, return_index=True)
        best = set(np.flatnonzero(non_dominated(costs))) & set(first_of_each)
        found = [eligible[index] for index in sorted(best)]
    size = _size_objective(objectives)
    found.sort(key=lambda trial: (size.cost(values_of(trial)[size.name]), trial.number))
    knee = _knee(found, objectives)
    return Front(
        objectives=tuple(objectives),
        baseline=next((trial for trial in trials if trial.origin == "baseline"), None),
        points=tuple(FrontPoint(trial, trial is knee) for trial in found),
    )


def values_of(trial: Trial) -> Mapping[str, float]:
    """Return the values of a trial on the validation split; empty where it has none."""
    return trial.measurement.values if trial.measurement is not None else {}


PICKS = ("knee", "smallest", "most-accurate", "fastest")


def pick(front: Front, how: str | int) -> Trial:
    """Return one trial of the front.

    Args:
        front: Where to look.
        how: ``knee``; ``smallest`` (deflated file); ``most-accurate`` (the best by the task's metric); ``fastest``
            (lowest latency); or the number of a trial on the front. Ties go to the better metric, then to the
            smaller file.

    Raises:
        ConfigurationError: If the front is empty, the trial is not on it, or ``how`` is none of these.
    """
    if not front.points:
        raise ConfigurationError(
            "The front is empty: no trial has met the constraints yet. Search longer or relax them."
        )
    on_front = {trial.number: trial for trial in front.trials}
    listed = ", ".join(str(number) for number in sorted(on_front))
    if isinstance(how, int) or how.isdecimal():
        if int(how) not in on_front:
            raise ConfigurationError(f"Trial {how} is not on the front; on it are {listed}.")
        return on_front[int(how)]
    if how not in PICKS:
        raise ConfigurationError(
            f"Pick {', '.join(PICKS)} or a trial on the front ({listed}), got '{how}'.{nearest(how, PICKS)}"
        )
    if how == "knee" and front.knee is not None:
        return front.knee
    known = objectives_by_name(front.objectives)
    size = _size_objective(front.objectives)
    wanted = {"smallest": known["size_bytes"], "fastest": known["latency_ratio"]}.get(how, front.objectives[0])
    order = [wanted, front.objectives[0], size]
    for objective in order:
        if any(objective.name not in values_of(trial) for trial in front.trials):
            raise ConfigurationError(f"`{how}` needs `{objective.name}`, which this run did not measure.")
    return min(front.trials, key=lambda trial: (*_costs(trial, order), trial.number))


def reference_point(baseline: Mapping[str, float], objectives: Sequence[Objective]) -> dict[str, float]:
    """Return the value of each objective beyond which a trial is worth nothing, from the baseline alone.

    * sizes (``log`` objectives): 1.1 times the baseline's; a compressed file is never wanted larger;
    * other minimised objectives (latency, errors): twice the baseline's, since smaller files are often slower;
    * maximised objectives (accuracy, R2): the baseline's less a quarter of its magnitude;
    * where the baseline is 0 and not a size: 1 worse.

    Fixed at the start of a run and stored with it, so that hypervolumes of one run compare with each other.
    """
    reference = {}
    for objective in objectives:
        value = baseline[objective.name]
        if objective.log:
            reference[objective.name] = 1.1 * value
        elif objective.direction is Direction.MINIMIZE:
            reference[objective.name] = value + (abs(value) or 1.0)
        else:
            reference[objective.name] = value - (abs(value) / 4 or 1.0)
    return reference


def hypervolume(
    points: Sequence[Mapping[str, float]], reference: Mapping[str, float], objectives: Sequence[Objective]
) -> float:
    """Return the volume between the reference point and what ``points`` reach; more is better.

    Sizes (``log`` objectives) count in halvings of the reference, everything else in its own unit. A point that is
    not better than the reference in every objective adds nothing; no points give 0.

    Args:
        points: Values by objective, of each point.
        reference: As from :func:`reference_point`.
        objectives: The dimensions of the volume.
    """
    if not points:
        return 0.0
    import moocore

    costs = np.array([volume_row(point, objectives) for point in points])
    return float(moocore.hypervolume(costs, ref=np.array(volume_row(reference, objectives))))


def hypervolume_history(
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    baseline: Mapping[str, float],
    reference: Mapping[str, float] | None = None,
    *,
    known: Mapping[str, Objective] | None = None,
) -> list[tuple[int, float]]:
    """Return the hypervolume of the front after each finished trial, in the order of their numbers.

    Args:
        trials: In any order, of any state; those that have not ended are left out.
        objectives: As for :func:`find_front`.
        constraints: As for :func:`find_front`.
        baseline: As for :func:`find_front`.
        reference: The run's reference point; ``None`` derives it from ``baseline``.
        known: As for :func:`find_front`.

    Returns:
        Pairs of trial number and hypervolume, which never falls.
    """
    reference = reference_point(baseline, objectives) if reference is None else reference
    history: list[tuple[int, float]] = []
    best: tuple[Trial, ...] = ()
    volume = 0.0
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state in (TrialState.RUNNING, TrialState.INTERRUPTED):
            continue
        # The front of all trials so far is that of the last front and the new trial.
        grown = find_front((*best, trial), objectives, constraints, baseline, known).trials
        if grown != best:
            best = grown
            volume = hypervolume([values_of(point) for point in best], reference, objectives)
        history.append((trial.number, volume))
    return history


def _is_eligible(trial: Trial) -> bool:
    return (
        trial.state is TrialState.COMPLETE
        and trial.rung is Rung.FULL
        and trial.origin != "baseline"
        and not trial.candidate.policy.is_untouched
        and trial.measurement is not None
        and trial.measurement.fidelity.is_clean
    )


def _costs(trial: Trial, objectives: Sequence[Objective]) -> list[float]:
    return [objective.cost(values_of(trial)[objective.name]) for objective in objectives]


def _exact_costs(trial: Trial, objectives: Sequence[Objective]) -> list[float]:
    sign = {Direction.MINIMIZE: 1.0, Direction.MAXIMIZE: -1.0}
    return [sign[objective.direction] * values_of(trial)[objective.name] for objective in objectives]


def _size_objective(objectives: Sequence[Objective]) -> Objective:
    """Return the first objective that counts bytes of the file, or else an amount, or else the first one."""
    amounts = [objective for objective in objectives if objective.log]
    return next((each for each in amounts if each.name in _FILE_BYTES), (amounts or objectives)[0])


def _knee(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Trial | None:
    """Return the trial nearest to the ideal: the best value of every objective at once.

    Each objective is scaled over the front to [0, 1], by its logarithm where ratios matter; one that is the same all
    over the front does not count. Ties go to the better first objective, the task's metric: of two points, which always
    tie, the one that gives least away.
    """
    if not trials:
        return None
    costs = np.array([_costs(trial, objectives) for trial in trials])
    for column, objective in enumerate(objectives):
        if objective.log:
            costs[:, column] = np.log(np.maximum(costs[:, column], _LEAST))
    lowest = costs.min(axis=0)
    span = costs.max(axis=0) - lowest
    scaled = (costs - lowest) / np.where(span > 0, span, 1.0)
    distances = np.round((scaled**2).sum(axis=1), 12)
    return trials[int(np.lexsort((costs[:, 0], distances))[0])]


def volume_row(values: Mapping[str, float], objectives: Sequence[Objective]) -> list[float]:
    """Return the place of ``values`` in the space that hypervolumes are measured in.

    Costs, all minimised: sizes (``log`` objectives) as binary logarithms, everything else in its own unit.
    """
    row = []
    for objective in objectives:
        cost = objective.cost(values[objective.name])
        row.append(float(np.log2(max(cost, _LEAST))) if objective.log else cost)
    return row
