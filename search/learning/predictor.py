"""What a policy will measure once it is trained, guessed from what is known before."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paretune.search.additive.encoding import Encoding, IntArray
from paretune.search.additive.profile import Profile
from paretune.search.additive.widths import Widths
from paretune.search.front import FloatArray, values_of, volume_row
from paretune.search.learning.changes import AMOUNT_SPREAD, LATENCY_SPREAD, SIZE_SPREAD, Changes, Spread
from paretune.search.learning.experience import Experience, farthest_recovery, process_of_all
from paretune.search.learning.kernel import Kernel, Points, points_of_choice
from paretune.search.learning.prediction import Bend, Prediction
from paretune.search.learning.residual import MOST_POINTS, GaussianProcess, likeliest_kernel
from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.objective import Direction, Objective
from paretune.spaces.results.proxy import Proxy
from paretune.spaces.results.trial import Trial, TrialState

#: Trained trials from which on they tell how a metric recovers.
ENOUGH_TRIALS = 4
#: Where trials of other models tell as well, so many of its own are needed before these alone do.
ENOUGH_OF_ITS_OWN = 8
#: Before that: the share of an untrained loss that is assumed to stay after training, and its deviation.
_STAYS, _STAYS_DEVIATION = 0.3, 0.3
#: The same for a metric, as a share of the baseline's.
_TURNING_SHARE = 0.02
#: Single effects are stretched by what pairs showed, within reason.
_RATIOS = (0.5, 2.0)
#: Deviation of what nothing is known about.
_ANYTHING = 1e3
#: The smallest share of the base that an amount is taken to shrink to when its parts are added up.
_LEAST_SHARE = 1e-3
#: Deviation of what is known.
_EXACT = 1e-6
#: What adding up effects may miss where nothing is trained, as a share of the sum; and what a measurement may, as a
#: share of the baseline's metric.
_SUM_DEVIATION, _MEASURED_DEVIATION = 0.3, 5e-4
#: Losses rise by orders of magnitude; around this rise their scale turns from linear to logarithmic.
_TURNING_LOSS = 0.2


class Predictor:
    """Predicts the objectives of policies from their proxies, or from the profile where they have none.

    The task's metric, and the loss, follow from their untrained rise by a Gaussian process that the finished trials
    teach; of a policy that trains nothing they are what it measures untrained. A size is that of the untrained file,
    changed as training changed others. A latency is what the profile tells, which depends on channels, ranks and number
    formats alone, corrected as the trials' were. Any other amount is told likewise, and exact where a proxy has it and
    training does not change it.

    Args:
        problem: The objectives.
        encoding: The space.
        baseline: Values of the uncompressed model.
        common: Values of the search's baseline, where that is another model: what training leaves is told on its scale,
            because base models are seldom trained equally well, and compressing trains them further.
    """

    def __init__(
        self,
        problem: SearchProblem,
        encoding: Encoding,
        baseline: Mapping[str, float],
        *,
        common: Mapping[str, float] | None = None,
    ) -> None:
        self._objectives = problem.objectives
        self._metric = next(iter(problem.description.objectives.values()))
        self._encoding = encoding
        self._widths = Widths(encoding)
        self._baseline = baseline
        self._common = baseline if common is None else common
        self._profile: Profile | None = None
        self._proxies: dict[tuple[int, ...], Proxy] = {}
        self._trained: dict[int, tuple[tuple[int, ...], Mapping[str, float]]] = {}
        self._learnt: dict[str, GaussianProcess] = {}
        self._kernels: dict[tuple[str, int], Kernel] = {}
        self._changes: dict[str, Changes] = {}
        self._of_others: Callable[[], Sequence[Experience]] = lambda: ()

    def learn_from(self, others: Callable[[], Sequence[Experience]]) -> None:
        """From now on, as long as its own trials are too few, go by what trials of other models tell."""
        self._of_others = others

    def experience(self) -> Experience:
        """Return what its own trials tell others about the task's metric."""
        told = self._taught
        costs = np.array([volume_row(values, [self._metric])[0] for _, values in told])
        return Experience(self._shared_features(self._rows([row for row, _ in told])), self._bend(self._metric)(costs))

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
        """Trials it has learnt from how the metric recovers."""
        return len(self._taught)

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
            return self._is_measured(rows)
        return np.isfinite(self._sum_of(self._profile, rows, "loss") + self._sum_of(self._profile, rows, "bytes"))

    def _is_measured(self, rows: IntArray) -> NDArray[np.bool_]:
        """Mark the policies that have a proxy."""
        return np.array([row in self._proxies for row in map(tuple, rows.tolist())], dtype=bool)

    def may_recover(self, rows: IntArray, limit: float) -> NDArray[np.bool_]:
        """Mark the policies that lose no more untrained than what training is known to win back.

        All of them, once there are trials of its own to tell, or as long as none tell.

        Args:
            rows: Shape (policies, units).
            limit: The cost that the metric must stay below.
        """
        if not self._goes_by_others:
            return np.ones(len(rows), dtype=bool)
        bent = float(self._bend(self._metric)(np.array(limit)))
        farthest = farthest_recovery(self.experience(), self._of_others(), bent)
        return np.asarray(self._features(rows)[:, 0] <= farthest)

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
            return self._where_free(objective, rows, self._untaught(objective, rows))
        if self._profile is not None and objective.name in self._profile.amounts:
            return self._predict_amount(objective, self._profile, rows)
        if objective.log and not objective.settled:
            return self._predict_size(objective, rows)
        base = self._base_values.get(objective.name, self._baseline[objective.name])
        if objective.name == "latency_ratio" and self._profile is not None:
            return self._predict_latency(objective, base, self._profile, rows)
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
        if self._goes_by_others and objective.name == self._metric.name:
            learnt = self._as_others(rows)
        elif self.trained >= ENOUGH_TRIALS:
            learnt = self._process(objective).predict(Points(self._features(rows), rows))
        else:
            return None
        bend = self._bend(objective)
        mean, deviation = self._where_free(objective, rows, (bend.undo(learnt[0]), bend.slope(learnt[0]) * learnt[1]))
        bent = bend(mean)
        return bent, deviation / bend.slope(bent)

    def _where_free(
        self, objective: Objective, rows: IntArray, guess: tuple[FloatArray, FloatArray]
    ) -> tuple[FloatArray, FloatArray]:
        """Return a guess of the metric, or the loss, in which policies that train nothing have what they measure so."""
        free = self._encoding.is_training_free(rows)
        rise = self._untrained(rows)[:, 1 if objective.name == self._metric.name else 0]
        sign = -1 if objective.direction is Direction.MAXIMIZE else 1
        base = sign * {**self._baseline, **self._base_values}[objective.name]
        deviation = np.where(self._is_measured(rows), 0.0, _SUM_DEVIATION * np.abs(rise)) + _MEASURED_DEVIATION * (
            abs(base) or 1.0
        )
        return np.where(free, base + rise, guess[0]), np.where(free, deviation, guess[1])

    @property
    def _goes_by_others(self) -> bool:
        return self.trained < ENOUGH_OF_ITS_OWN and self.is_taught_by_others

    def _as_others(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        process = process_of_all([self.experience(), *self._of_others()])
        return process.predict(Points(self._shared_features(rows)))

    def _bend(self, objective: Objective) -> Bend:
        base = volume_row(self._common, [objective])[0]
        return Bend(base, _TURNING_SHARE * (abs(base) or 1.0))

    def _process(self, objective: Objective) -> GaussianProcess:
        if objective.name not in self._learnt:
            rows = np.array([row for row, _ in self._taught])
            costs = self._bend(objective)(np.array([volume_row(values, [objective])[0] for _, values in self._taught]))
            points = Points(self._features(rows), rows)
            first = points_of_choice(len(rows))
            if (objective.name, first) not in self._kernels:
                self._kernels[objective.name, first] = likeliest_kernel(points.of(slice(first)), costs[:first])
            self._learnt[objective.name] = GaussianProcess(points, costs, self._kernels[objective.name, first])
        return self._learnt[objective.name]

    @property
    def _told(self) -> list[tuple[tuple[int, ...], Mapping[str, float]]]:
        """What finished trials measured, by number; those whose features can be told."""
        told = [self._trained[number] for number in sorted(self._trained)]
        is_known = self.is_known(self._rows([row for row, _ in told]))
        return [entry for entry, known in zip(told, is_known, strict=True) if known]

    @property
    def _taught(self) -> list[tuple[tuple[int, ...], Mapping[str, float]]]:
        """Those of them that trained something."""
        told = self._told
        free = self._encoding.is_training_free(self._rows([row for row, _ in told]))
        return [entry for entry, is_free in zip(told, free, strict=True) if not is_free]

    def _rows(self, rows: Sequence[tuple[int, ...]]) -> IntArray:
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self._encoding.units))

    def _features(self, rows: IntArray) -> FloatArray:
        """Return what the metric may depend on: the untrained rise of loss and metric, and who causes it."""
        untrained = self._untrained(rows)
        columns = [np.log1p(np.maximum(untrained[:, 0], 0) / _TURNING_LOSS), untrained[:, 1]]
        if self._profile is not None:
            columns += [np.sqrt(costs.loss[rows[:, unit]]) for unit, costs in enumerate(self._profile.costs)]
        return np.stack(columns, axis=1)

    def _shared_features(self, rows: IntArray) -> FloatArray:
        """Return those of the features that all models have, and how good this one is."""
        base = self._bend(self._metric)(np.array(volume_row(self._baseline, [self._metric])))
        return np.column_stack([self._features(rows)[:, :2], np.full(len(rows), base[0])])

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
            return untrained, np.full(len(rows), SIZE_SPREAD.deviation)

        def added_up(known: IntArray) -> FloatArray:
            return np.asarray(np.log2(self._untrained_size(objective, known)))

        mean, deviation = self._changes_of(objective, np.log2, added_up, SIZE_SPREAD).predict(rows)
        is_final = self._encoding.is_training_free(rows) & self._is_measured(rows)
        return untrained + np.where(is_final, 0.0, mean), np.where(is_final, _EXACT, deviation)

    def _predict_latency(
        self, objective: Objective, base: float, profile: Profile, rows: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        def added_up(known: IntArray) -> FloatArray:
            return self._widths.scaled(base, [costs.latency for costs in profile.costs], known)

        if not any(objective.name in values for _, values in self._told):
            return added_up(rows), np.full(len(rows), objective.tolerance)
        mean, deviation = self._changes_of(objective, np.array, added_up, LATENCY_SPREAD).predict(rows)
        return added_up(rows) + mean, np.maximum(deviation, objective.tolerance)

    def _predict_amount(self, objective: Objective, profile: Profile, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        base = self._base_values.get(objective.name, self._baseline[objective.name])
        width = 1.0 if objective.log else abs(base) or 1.0

        def scale(values: Sequence[float]) -> FloatArray:
            return np.array([volume_row({objective.name: value}, [objective])[0] for value in values]) / width

        def added_up(known: IntArray) -> FloatArray:
            total = self._widths.scaled(base, [costs.amounts[objective.name] for costs in profile.costs], known)
            return scale((np.maximum(total, _LEAST_SHARE * base) if objective.log else total).tolist())

        mean, deviation = added_up(rows), np.full(len(rows), AMOUNT_SPREAD.deviation)
        if any(objective.name in values for _, values in self._told):
            change, deviation = self._changes_of(objective, scale, added_up, AMOUNT_SPREAD).predict(rows)
            mean = mean + change
        for place, row in enumerate(map(tuple, rows.tolist())):
            proxy = self._proxies.get(row)
            if proxy is not None and objective.name in proxy.values and objective.settled:
                mean[place], deviation[place] = scale([proxy.values[objective.name]])[0], _EXACT
        return mean * width, np.maximum(deviation * width, objective.tolerance)

    def _changes_of(
        self,
        objective: Objective,
        scale: Callable[[Sequence[float]], FloatArray],
        added_up: Callable[[IntArray], FloatArray],
        spread: Spread,
    ) -> Changes:
        """Return what trials tell about how an objective differs from what was added up; learnt once for them."""
        if objective.name not in self._changes:
            told = [(row, values) for row, values in self._told[-MOST_POINTS:] if objective.name in values]
            known = self._rows([row for row, _ in told])
            measured = scale([values[objective.name] for _, values in told])
            self._changes[objective.name] = Changes(known, measured - added_up(known), spread)
        return self._changes[objective.name]

    def _untrained_size(self, objective: Objective, rows: IntArray) -> FloatArray:
        sizes = np.full(len(rows), self._baseline[objective.name])
        if self._profile is not None and objective.name == "size_bytes":
            sizes = np.maximum(self._profile.fixed_bytes + self._bytes_of(self._profile, rows), 1.0)
        for place, row in enumerate(map(tuple, rows.tolist())):
            if row in self._proxies:
                sizes[place] = self._proxies[row].values.get(objective.name, sizes[place])
        return sizes

    def _bytes_of(self, profile: Profile, rows: IntArray) -> FloatArray:
        """Return the bytes of all weights: those of full width, as far as layers keep their channels."""
        return np.asarray(
            np.sum(
                [
                    costs.bytes[rows[:, unit]] * self._widths.of_unit(unit, rows)
                    for unit, costs in enumerate(profile.costs)
                    if not profile.units[unit].is_width
                ],
                axis=0,
            )
        )

    @staticmethod
    def _sum_of(profile: Profile, rows: IntArray, name: str) -> FloatArray:
        parts = [getattr(costs, name)[rows[:, unit]] for unit, costs in enumerate(profile.costs)]
        return np.asarray(np.sum(parts, axis=0))
