"""What a policy will measure once it is trained, guessed from what is known before."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.search.encoding import Encoding, IntArray
from paretune.search.front import FloatArray, values_of, volume_row
from paretune.search.profile import Profile
from paretune.search.residual import MOST_POINTS, GaussianProcess, Kernel, likeliest_kernel, points_of_choice
from paretune.search.settings import SearchProblem
from paretune.spaces.objective import Direction, Objective
from paretune.spaces.proxy import Proxy
from paretune.spaces.recipe import Rung
from paretune.spaces.trial import Trial, TrialState

#: Trained trials from which on they tell how a metric recovers.
ENOUGH_TRIALS = 4
#: Before that: the share of an untrained loss that is assumed to stay after training, and its deviation.
_STAYS, _STAYS_DEVIATION = 0.3, 0.3
#: By how many halvings a size may change in training, before the trials tell; and what stays unexplained then.
_SIZE_DEVIATION, _SIZE_NOISE = 0.08, 0.01
#: The same for a metric, as a share of the baseline's.
_TURNING_SHARE = 0.02
#: Single effects are stretched by what pairs showed, within reason.
_RATIOS = (0.5, 2.0)
#: Deviation of what nothing is known about.
_ANYTHING = 1e3
#: Losses rise by orders of magnitude; around this rise their scale turns from linear to logarithmic.
_TURNING_LOSS = 0.2


@dataclass(frozen=True, slots=True)
class Prediction:
    """Guesses for several policies, as of :func:`paretune.search.front.volume_row`: all minimised.

    Attributes:
        mean: Shape (policies, objectives).
        deviation: One standard deviation of each, to first order.
        learnt: Mean and deviation of the first objective on the scale that it was learnt on, where it was: there
            it is as likely better as worse, and far from the baseline it is not in its own unit.
        scale: That scale.
    """

    mean: FloatArray
    deviation: FloatArray
    learnt: tuple[FloatArray, FloatArray] | None = None
    scale: "Bend | None" = None

    def first(self, deviations: float) -> FloatArray:
        """Return the first objective so many deviations from its mean, shape (policies,)."""
        if self.learnt is None or self.scale is None:
            return np.asarray(self.mean[:, 0] + deviations * self.deviation[:, 0])
        mean, deviation = self.learnt
        return self.scale.undo(mean + deviations * deviation)

    def chance_below(self, limit: float) -> FloatArray:
        """Return the probability that the first objective is below a limit, shape (policies,)."""
        if self.learnt is None or self.scale is None:
            distances = (limit - self.mean[:, 0]) / self.deviation[:, 0]
        else:
            distances = (self.scale(np.array(limit)) - self.learnt[0]) / self.learnt[1]
        return np.array([0.5 * math.erfc(-distance / math.sqrt(2)) for distance in distances])

    def of(self, rows: NDArray[np.int64]) -> "Prediction":
        """Return the guesses for some of the policies, by their places."""
        learnt = None if self.learnt is None else (self.learnt[0][rows], self.learnt[1][rows])
        return Prediction(self.mean[rows], self.deviation[rows], learnt, self.scale)


@dataclass(frozen=True, slots=True)
class Experience:
    """What trained trials tell of how a metric recovers, whatever the model.

    Attributes:
        untrained: Rise of the loss, on a scale that turns logarithmic, and worsening of the metric; shape (trials, 2).
        trained: The metric's change from the uncompressed model's after training, on the scale that is learnt; shape
            (trials,).
    """

    untrained: FloatArray
    trained: FloatArray


class Predictor:
    """Predicts the objectives of policies from their proxies, or from the profile where they have none.

    The task's metric, and the loss, follow from their untrained rise by a Gaussian process that the finished trials
    teach. A size is that of the untrained file, changed as training changed others. Latency depends on the number
    formats alone: what the profile adds up.

    Args:
        problem: The objectives.
        encoding: The space.
        baseline: Values of the uncompressed model.
    """

    def __init__(self, problem: SearchProblem, encoding: Encoding, baseline: Mapping[str, float]) -> None:
        self._objectives = problem.objectives
        self._metric = next(iter(problem.description.objectives.values()))
        self._encoding = encoding
        self._baseline = baseline
        self._profile: Profile | None = None
        self._proxies: dict[tuple[int, ...], Proxy] = {}
        self._trained: dict[int, tuple[tuple[int, ...], Mapping[str, float]]] = {}
        self._learnt: dict[str, GaussianProcess] = {}
        self._kernels: dict[tuple[str, int], Kernel] = {}
        self._changes: dict[str, _SizeChanges] = {}
        self._of_others: Callable[[], Sequence[Experience]] = lambda: ()

    def learn_from(self, others: Callable[[], Sequence[Experience]]) -> None:
        """From now on, as long as its own trials are too few, go by what trials of other models tell."""
        self._of_others = others

    def experience(self) -> Experience:
        """Return what its own trials tell others about the task's metric."""
        told = self._told
        costs = np.array([volume_row(values, [self._metric])[0] for _, values in told])
        return Experience(self._features(self._rows([row for row, _ in told]))[:, :2], self._bend(self._metric)(costs))

    @property
    def is_taught(self) -> bool:
        """Whether trials tell how the metric recovers, its own or those of other models."""
        return self.trained >= ENOUGH_TRIALS or self.is_taught_by_others

    @property
    def is_taught_by_others(self) -> bool:
        """Whether trials of other models tell."""
        return sum(len(each.trained) for each in self._of_others()) >= ENOUGH_TRIALS

    @property
    def trained(self) -> int:
        """Trials it has learnt from."""
        return len(self._told)

    def use_profile(self, profile: Profile) -> None:
        """From now on, tell of policies without a proxy too."""
        self._profile = profile
        self._forget()
        self._kernels = {}

    def note(self, row: tuple[int, ...], proxy: Proxy) -> None:
        """Take note of what a policy measures untrained."""
        self._proxies[row] = proxy
        if any(row == trained for trained, _ in self._trained.values()):
            self._forget()

    def _forget(self) -> None:
        """Learn anew when next asked."""
        self._learnt, self._changes = {}, {}

    def is_known(self, rows: IntArray) -> NDArray[np.bool_]:
        """Mark the policies of which the profile can tell."""
        if self._profile is None:
            return np.array([row in self._proxies for row in map(tuple, rows.tolist())], dtype=bool)
        return np.isfinite(self._sum_of(self._profile, rows, "loss") + self._sum_of(self._profile, rows, "bytes"))

    def tell(self, trial: Trial) -> None:
        """Learn from a trial, if it is complete at the rung ``full``."""
        is_uncompressed = trial.origin == "baseline" or trial.candidate.is_base_model
        if trial.state is TrialState.COMPLETE and trial.rung is Rung.FULL and not is_uncompressed:
            row = self._encoding.row_of_trial(trial)
            if row is not None:
                self._trained[trial.number] = (row, values_of(trial))
                self._forget()

    def predict(self, rows: IntArray) -> Prediction:
        """Guess what policies will measure once they are trained.

        Args:
            rows: Shape (policies, units); each needs a proxy unless there is a profile.
        """
        learnt = [self._learnt_metric(objective, rows) for objective in self._objectives]
        columns = [
            self._predict(objective, rows, known) for objective, known in zip(self._objectives, learnt, strict=True)
        ]
        mean, deviation = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
        return Prediction(mean, deviation, learnt[0], None if learnt[0] is None else self._bend(self._objectives[0]))

    def _predict(
        self, objective: Objective, rows: IntArray, learnt: tuple[FloatArray, FloatArray] | None
    ) -> tuple[FloatArray, FloatArray]:
        if learnt is not None:
            bend = self._bend(objective)
            return bend.undo(learnt[0]), bend.slope(learnt[0]) * learnt[1]
        if self._is_learnt(objective):
            return self._untaught(objective, rows)
        if objective.log:
            return self._predict_size(objective, rows)
        base = self._base_values.get(objective.name, self._baseline[objective.name])
        if objective.name == "latency_ratio" and self._profile is not None:
            return base + self._sum_of(self._profile, rows, "latency"), np.full(len(rows), objective.tolerance)
        proxies = [self._proxies.get(row) for row in map(tuple, rows.tolist())]
        values = [base if proxy is None else proxy.values.get(objective.name, base) for proxy in proxies]
        is_known = [proxy is not None and objective.name in proxy.values for proxy in proxies]
        costs = np.array([volume_row({objective.name: value}, [objective])[0] for value in values])
        return costs, np.where(is_known, objective.tolerance, _ANYTHING)

    @property
    def _base_values(self) -> Mapping[str, float]:
        return self._baseline if self._profile is None else self._profile.base.values

    def _is_learnt(self, objective: Objective) -> bool:
        """Whether trials teach it: the task's metric, or the loss."""
        return objective.name in (self._metric.name, "loss")

    def _untaught(self, objective: Objective, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return a guess of the metric, or the loss, before trials tell."""
        worse = np.maximum(self._untrained(rows)[:, 1 if objective.name == self._metric.name else 0], 0.0)
        cost = volume_row(self._baseline, [objective])[0] + _STAYS * worse
        return cost, _STAYS_DEVIATION * worse + 1e-3

    def _learnt_metric(self, objective: Objective, rows: IntArray) -> tuple[FloatArray, FloatArray] | None:
        """Return mean and deviation on the scale of :class:`Bend`; ``None`` before trials tell, or of anything else."""
        if not self._is_learnt(objective):
            return None
        if self.trained >= ENOUGH_TRIALS:
            return self._process(objective).predict(self._features(rows))
        if self.is_taught_by_others and objective.name == self._metric.name:
            return self._as_others(rows)
        return None

    def _as_others(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        known = [self.experience(), *self._of_others()]
        features = np.concatenate([each.untrained for each in known])
        trained = np.concatenate([each.trained for each in known])
        process = GaussianProcess(features, trained, likeliest_kernel(features, trained))
        return process.predict(self._features(rows)[:, :2])

    def _bend(self, objective: Objective) -> "Bend":
        base = volume_row(self._baseline, [objective])[0]
        return Bend(base, _TURNING_SHARE * (abs(base) or 1.0))

    def _process(self, objective: Objective) -> GaussianProcess:
        if objective.name not in self._learnt:
            rows = np.array([row for row, _ in self._told])
            costs = self._bend(objective)(np.array([volume_row(values, [objective])[0] for _, values in self._told]))
            features = self._features(rows)
            first = points_of_choice(len(rows))
            if (objective.name, first) not in self._kernels:
                self._kernels[objective.name, first] = likeliest_kernel(features[:first], costs[:first])
            self._learnt[objective.name] = GaussianProcess(features, costs, self._kernels[objective.name, first])
        return self._learnt[objective.name]

    @property
    def _told(self) -> list[tuple[tuple[int, ...], Mapping[str, float]]]:
        """What trained trials measured, by number; those whose features can be told."""
        told = [self._trained[number] for number in sorted(self._trained)]
        is_known = self.is_known(self._rows([row for row, _ in told]))
        return [entry for entry, known in zip(told, is_known, strict=True) if known]

    def _rows(self, rows: Sequence[tuple[int, ...]]) -> IntArray:
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self._encoding.units))

    def _features(self, rows: IntArray) -> FloatArray:
        """Return what the metric may depend on: the untrained rise of loss and metric, and who causes it."""
        untrained = self._untrained(rows)
        columns = [np.log1p(np.maximum(untrained[:, 0], 0) / _TURNING_LOSS), untrained[:, 1]]
        if self._profile is not None:
            columns += [np.sqrt(costs.loss[rows[:, unit]]) for unit, costs in enumerate(self._profile.costs)]
        return np.stack(columns, axis=1)

    def _untrained(self, rows: IntArray) -> FloatArray:
        """Return the untrained rise of the loss and worsening of the metric of each row: measured, or added up."""
        result = np.zeros((len(rows), 2))
        if self._profile is not None:
            sums = [self._sum_of(self._profile, rows, name) for name in ("loss", "metric")]
            result = np.stack(sums, axis=1) * np.clip(self._profile.additivity.median_ratio, *_RATIOS)
        for place, row in enumerate(map(tuple, rows.tolist())):
            if row in self._proxies:
                result[place] = self._measured(self._proxies[row])
        return result

    def _measured(self, proxy: Proxy) -> tuple[float, float]:
        sign = 1 if self._metric.direction is Direction.MAXIMIZE else -1
        base, name = self._base_values, self._metric.name
        return proxy.values["loss"] - base["loss"], sign * (base[name] - proxy.values[name])

    def _predict_size(self, objective: Objective, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        untrained = np.log2(self._untrained_size(objective, rows))
        if not self._told:
            return untrained, np.full(len(rows), _SIZE_DEVIATION)
        if objective.name not in self._changes:
            told = self._told[-MOST_POINTS:]
            known = self._rows([row for row, _ in told])
            after = np.log2([values[objective.name] for _, values in told])
            self._changes[objective.name] = _SizeChanges(known, after - np.log2(self._untrained_size(objective, known)))
        mean, deviation = self._changes[objective.name].predict(rows)
        return untrained + mean, deviation

    def _untrained_size(self, objective: Objective, rows: IntArray) -> FloatArray:
        sizes = np.full(len(rows), self._baseline[objective.name])
        if self._profile is not None and objective.name == "size_bytes":
            sizes = np.maximum(self._profile.fixed_bytes + self._sum_of(self._profile, rows, "bytes"), 1.0)
        for place, row in enumerate(map(tuple, rows.tolist())):
            if row in self._proxies:
                sizes[place] = self._proxies[row].values[objective.name]
        return sizes

    @staticmethod
    def _sum_of(profile: Profile, rows: IntArray, name: str) -> FloatArray:
        parts = [getattr(costs, name)[rows[:, unit]] for unit, costs in enumerate(profile.costs)]
        return np.asarray(np.sum(parts, axis=0))


@dataclass(frozen=True, slots=True)
class Bend:
    """A scale that is linear around the baseline's cost and logarithmic far from it.

    Regression on it is not led by the few trials that lost almost everything: nobody asks how bad a bad one is.
    """

    base: float
    width: float

    def __call__(self, costs: FloatArray) -> FloatArray:
        """Return costs on this scale."""
        return np.arcsinh((costs - self.base) / self.width)

    def undo(self, bent: FloatArray) -> FloatArray:
        """Return costs again."""
        return np.asarray(self.base + self.width * np.sinh(bent))

    def slope(self, bent: FloatArray) -> FloatArray:
        """Return how fast costs change there."""
        return np.asarray(self.width * np.cosh(bent))


class _SizeChanges:
    """By how many halvings training changes a size: a constant, and something for each option that is taken.

    Bayesian linear regression in its dual form, in which every option is expected to matter by about as much: the inner
    product of two policies is the number of options that they share, and one.

    Args:
        rows: Shape (trials, units).
        changes: Shape (trials,), in halvings.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 2.12.
    """

    def __init__(self, rows: IntArray, changes: FloatArray) -> None:
        self._rows = rows
        self._prior = _SIZE_DEVIATION**2 / (1 + rows.shape[1])
        self._inverse = np.linalg.inv(self._prior * _shared(rows, rows) + _SIZE_NOISE**2 * np.eye(len(rows)))
        self._weights = self._inverse @ changes

    def predict(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of the changes of other policies."""
        across = self._prior * _shared(rows, self._rows)
        variance = self._prior * (1 + rows.shape[1]) + _SIZE_NOISE**2 - ((across @ self._inverse) * across).sum(axis=1)
        return across @ self._weights, np.sqrt(np.maximum(variance, 0.0))


def _shared(rows: IntArray, others: IntArray) -> FloatArray:
    """Return how many options each two policies share, and one; shape (rows, others)."""
    # options fit into 16 bits; whole columns at a time, several times as fast as comparing 64 bits across rows
    columns, other_columns = (np.ascontiguousarray(each.T, dtype=np.uint16) for each in (rows, others))
    shared = np.ones((len(rows), len(others)), dtype=np.uint16)
    for column, other in zip(columns, other_columns, strict=True):
        shared += column[:, None] == other[None, :]
    return shared.astype(np.float64)
