"""Guesses about policies, and the scale on which the metric is learnt."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.search.front import FloatArray


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
    scale: Bend | None = None

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
