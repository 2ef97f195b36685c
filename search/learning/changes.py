"""By how much what is measured differs from what was added up before training, learnt from the trials."""

from dataclasses import dataclass

import numpy as np

from paretune.search.additive.encoding import IntArray
from paretune.search.front import FloatArray
from paretune.search.learning.kernel import differing


@dataclass(frozen=True, slots=True)
class Spread:
    """How far values may be from what was added up.

    Attributes:
        deviation: Before trials tell.
        noise: What stays unexplained then.
    """

    deviation: float
    noise: float


#: A size, in halvings: training moves the weights, and they deflate a little better or worse.
SIZE_SPREAD = Spread(deviation=0.08, noise=0.01)
#: A latency ratio: conversions between formats are paid where neighbours differ, not layer by layer.
LATENCY_SPREAD = Spread(deviation=0.3, noise=0.05)
#: Any other amount, in halvings where ratios matter, else in its baselines.
AMOUNT_SPREAD = Spread(deviation=0.3, noise=0.02)


class Changes:
    """How values differ from what was added up: by a constant, and something for each option that is taken.

    Bayesian linear regression in its dual form, in which every option is expected to matter by about as much: the inner
    product of two policies is the number of options that they share, and one.

    Args:
        rows: Shape (trials, units).
        changes: Shape (trials,).
        spread: How large they may be.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 2.12.
    """

    def __init__(self, rows: IntArray, changes: FloatArray, spread: Spread) -> None:
        self._rows, self._noise = rows, spread.noise
        self._prior = spread.deviation**2 / (1 + rows.shape[1])
        self._inverse = np.linalg.inv(self._prior * _shared(rows, rows) + self._noise**2 * np.eye(len(rows)))
        self._weights = self._inverse @ changes

    def predict(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of the changes of other policies."""
        across = self._prior * _shared(rows, self._rows)
        variance = self._prior * (1 + rows.shape[1]) + self._noise**2 - ((across @ self._inverse) * across).sum(axis=1)
        return across @ self._weights, np.sqrt(np.maximum(variance, 0.0))


def _shared(rows: IntArray, others: IntArray) -> FloatArray:
    """Return how many options each two policies share, and one; shape (rows, others)."""
    return np.asarray(rows.shape[1] + 1.0 - differing(rows, others))
