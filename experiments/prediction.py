"""What policies of a run should measure once trained, as far as its finished trials bear that out."""

import math
from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np

from paretune.experiments.runs.run import Run
from paretune.experiments.runs.run_profile import RunProfile
from paretune.search.additive.encoding import IntArray
from paretune.search.front import FloatArray, values_of, volume_row
from paretune.search.learning.prediction import Prediction
from paretune.search.learning.predictor import Predictor
from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.objective import Objective
from paretune.spaces.results.trial import Trial, TrialState

#: Of so many trained trials, all but one must have been within a deviation of what the others predicted of it.
_ONE_IN = 6
#: Parts in which the trained trials are predicted from each other.
_FOLDS = 5


class RunPredictor:
    """Predicts policies from a run's profile, proxies and trained trials; says how far off it has been.

    The search's own predictor serves to rank candidates, and may be too sure of itself while there are few trials. So
    the trained trials are predicted from each other, and the deviations of an objective are widened until five of
    six of them would have been within one. With fewer than five, nothing can be said: the deviations are infinite.

    Args:
        run: Open for reading.
        found: Its profile.
        trials: Of the run, the baseline first.
        objectives: What to predict; of these the profile must tell.

    References:
        Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World, sec. 2.2 (the rank of the quantile);
        Barber, Candès, Ramdas & Tibshirani (2021), Predictive inference with the jackknife+, sec. 3 (cross-validation).
    """

    def __init__(self, run: Run, found: RunProfile, trials: Sequence[Trial], objectives: tuple[Objective, ...]) -> None:
        self._problem = SearchProblem(description=run.facts.description, space=found.plan.space, objectives=objectives)
        self._found = found
        self._baseline = values_of(trials[0])
        self._row_of_proxy = {
            digest: found.plan.encoding.row_of(choice)
            for digest, proxy in found.proxies.items()
            if (choice := found.plan.space.choice_of(proxy.policy)) is not None
        }
        rows = [(trial, found.plan.encoding.row_of_trial(trial)) for trial in trials[1:] if _is_trained(trial)]
        self._told = [(trial, row) for trial, row in rows if row is not None]

    def predict(self, rows: IntArray) -> Prediction:
        """Return mean and widened deviation of each row, as the predictor of the search would give them."""
        guess = self._predictor(without=()).predict(rows)
        return Prediction(guess.mean, guess.deviation * self.widening)

    @cached_property
    def widening(self) -> FloatArray:
        """Factor of the deviations of each objective, at least 1."""
        count = len(self._told)
        rank = math.ceil((1 - 1 / _ONE_IN) * (count + 1))
        if rank > count:
            return np.full(len(self._problem.objectives), np.inf)
        misses = np.zeros((count, len(self._problem.objectives)))
        for fold in range(_FOLDS):
            places = range(fold, count, _FOLDS)
            if places:
                rows = [self._told[place][1] for place in places]
                guess = self._predictor(without=rows).predict(np.array(rows, dtype=np.int64))
                measured = [volume_row(values_of(self._told[place][0]), self._problem.objectives) for place in places]
                misses[places] = np.abs(np.array(measured) - guess.mean) / np.maximum(guess.deviation, 1e-12)
        return np.asarray(np.maximum(1.0, np.sort(misses, axis=0)[rank - 1]))

    def _predictor(self, *, without: Collection[tuple[int, ...]]) -> Predictor:
        """Return a predictor that has never heard of some rows."""
        predictor = Predictor(self._problem, self._found.plan.encoding, self._baseline)
        predictor.use_profile(self._found.profile)
        for digest, row in self._row_of_proxy.items():
            if row not in without:
                predictor.note(row, self._found.proxies[digest])
        for trial, row in self._told:
            if row not in without:
                predictor.tell(trial)
        return predictor


def _is_trained(trial: Trial) -> bool:
    """Return whether a trial bears out how training ends; of what trains nothing the proxies know all."""
    is_whole = trial.state is TrialState.COMPLETE and trial.rung is Rung.FULL
    return is_whole and bool(stages_of(trial.candidate.policy))
