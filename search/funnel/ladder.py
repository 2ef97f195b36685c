"""The rungs: which policies are trained a little first, and which of these are trained in full.

Optuna's ``report`` and ``should_prune`` are for one objective. Here a trial at the rung ``short`` is compared with
the front, and with the other short ones by the region of the front that they stand for.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from paretune.search.additive.encoding import Encoding
from paretune.search.additive.knapsack import farthest_first
from paretune.search.front import FloatArray, non_dominated, values_of, volume_row
from paretune.search.learning.prediction import Prediction
from paretune.search.learning.predictor import Predictor
from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.objective import Objective
from paretune.spaces.results.proxy import Proxy
from paretune.spaces.results.trial import Trial, TrialState

#: Trained trials before a guess may refuse a policy.
TRIALS_BEFORE_REFUSALS = 10
#: A policy is refused untrained if it enlarges the front with less probability than this; it is trained in full at
#: once if it does with more than that.
REFUSED_BELOW, TRUSTED_ABOVE = 0.02, 0.5
#: One in so many short trials is promoted by rank, beside those that nothing speaks against.
REDUCTION = 2
#: The smallest share of a short trial's loss of the metric that full training has left so far, and before it tells.
_STAYS_AT_LEAST = 0.3


class Ladder:
    """Decides about rungs, from proxies, short and full trials.

    Args:
        problem: Which rungs there are.
        baseline: Values of the uncompressed model.
        trials: So far.
        proxies: What has been measured untrained, by digest of the policy; a live view.
    """

    def __init__(
        self,
        problem: SearchProblem,
        baseline: Mapping[str, float],
        trials: Sequence[Trial],
        proxies: Mapping[str, Proxy],
    ) -> None:
        self._problem = problem
        self._proxies = proxies
        self._encoding = Encoding(problem.space)
        self._predictor = Predictor(problem, self._encoding, baseline)
        self._base_cost = volume_row(baseline, problem.objectives[:1])[0]
        self._short: dict[str, list[float]] = {}
        self._stays: list[float] = []
        for trial in trials:
            self.tell(trial)

    @property
    def asks_proxies(self) -> bool:
        """Whether it wants every policy measured untrained."""
        return Rung.PROXY in self._problem.rungs or Rung.SHORT in self._problem.rungs

    def tell(self, trial: Trial) -> None:
        """Learn from how a trial ended."""
        if trial.state is not TrialState.COMPLETE:
            return
        row = self._encoding.row_of_trial(trial)
        proxy = self._proxies.get(trial.candidate.policy.digest)
        if row is not None and proxy is not None:
            self._predictor.note(row, proxy)
            self._predictor.tell(trial)
        digest = trial.candidate.policy.digest
        costs = volume_row(values_of(trial), self._problem.objectives)
        if trial.rung is Rung.SHORT:
            self._short[digest] = costs
        elif digest in self._short:
            lost_short, lost = self._short[digest][0] - self._base_cost, costs[0] - self._base_cost
            if lost_short > 0:
                self._stays.append(lost / lost_short)

    def rung_of(self, policy: Policy, proxy: Proxy | None, front: Sequence[Trial]) -> tuple[Rung | None, str]:
        """Return the rung at which to try a policy first; ``None`` and the reason where it is not worth a trial."""
        if proxy is None or not stages_of(policy) or self._predictor.trained < TRIALS_BEFORE_REFUSALS:
            return Rung.FULL, ""
        choice = self._problem.space.choice_of(policy)
        if choice is None:
            return Rung.FULL, ""
        row = self._encoding.row_of(choice)
        self._predictor.note(row, proxy)
        guess = self._predictor.predict(np.array([row]))
        chance, rival = self._chance(guess, front)
        if chance < REFUSED_BELOW and Rung.PROXY in self._problem.rungs and rival is not None:
            return None, (
                f"not worth training: it would beat trial {rival.number} with a probability of {100 * chance:.1f} %"
            )
        is_unsure = chance < TRUSTED_ABOVE and Rung.SHORT in self._problem.rungs
        return Rung.SHORT if is_unsure else Rung.FULL, ""

    def verdict(self, trial: Trial, measurement: Measurement, front: Sequence[Trial]) -> str:
        """Return why a short trial is not trained in full, or an empty string when it is.

        It is stopped when even a good recovery would leave it behind the front; and when half of the short trials
        come before it, by non-dominated rank and, within a rank, by how far each is from those before it, so that
        small models are not crowded out by accurate ones.

        References:
            Schmucker, Donini, Zafar, Salinas & Archambeau (2021), Multi-objective Asynchronous Successive Halving.
        """
        objectives = self._problem.objectives
        costs = np.array(volume_row(measurement.values, objectives))
        best = costs.copy()
        stays = min([_STAYS_AT_LEAST, *self._stays])
        best[0] -= (1 - stays) * max(costs[0] - self._base_cost, 0.0)
        for rival in front:
            if (np.array(volume_row(values_of(rival), objectives)) <= best).all():
                return (
                    f"stopped after a short training: even {_told(objectives[0], best[0])} in the end would not "
                    f"beat trial {rival.number}"
                )
        others = [row for digest, row in self._short.items() if digest != trial.candidate.policy.digest]
        place = by_front_region(np.array([*others, costs])).index(len(others))
        if place >= math.ceil((len(others) + 1) / REDUCTION):
            return f"stopped after a short training: it ranks {place + 1} of {len(others) + 1} short trials"
        return ""

    def _chance(self, guess: Prediction, front: Sequence[Trial]) -> tuple[float, Trial | None]:
        """Return the probability that the one outcome enlarges the front, and which trial is in its way."""
        others = guess.mean[0, 1:] - 2 * guess.deviation[0, 1:]
        rival, limit = None, math.inf
        for trial in front:
            costs = np.array(volume_row(values_of(trial), self._problem.objectives))
            if (costs[1:] <= others).all() and costs[0] < limit:
                rival, limit = trial, costs[0]
        if rival is None:
            return 1.0, None
        return float(guess.chance_below(limit)[0]), rival


def by_front_region(costs: FloatArray) -> list[int]:
    """Return the rows of ``costs`` in order of promotion: by non-dominated rank, then spread over the rank.

    Args:
        costs: Shape (trials, objectives), all minimised.
    """
    order: list[int] = []
    left = np.arange(len(costs))
    span = np.ptp(costs, axis=0) + 1e-12
    while len(left):
        rank = left[non_dominated(costs[left])]
        spread = farthest_first(costs[rank] / span, len(rank))
        spread += [index for index in range(len(rank)) if index not in spread]
        order += [int(rank[index]) for index in spread]
        left = np.setdiff1d(left, rank)
    return order


def _told(objective: Objective, cost: float) -> str:
    return f"{objective.name} {abs(cost):.4g}"
