"""How much of a loss training wins back: regression of trained costs on what is known before."""

from dataclasses import replace

import numpy as np

from paretune.search.front import FloatArray
from paretune.search.learning.kernel import Kernel, Likeness, Points, likeliest_of_all

#: By how many standard deviations of the trials a feature can stand out.
_FARTHEST = 10.0
#: A feature that deviates less than this has not varied; it is taken in its own unit then.
_CONSTANT = 1e-6
#: Most points that are remembered, the latest: a step stays well below a tenth of a second.
MOST_POINTS = 300


class GaussianProcess:
    """A linear trend in the features, what deviates from it smoothly, and what decisions do beyond their features.

    Training wins back much of what pruning loses, and nothing of what four bits lose, however alike the two losses were
    before. Such things policies have in common as far as they decide alike.

    Args:
        points: At least 2, oldest first.
        costs: Shape (points,).
        kernel: As from :func:`likeliest_kernel`.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, alg. 2.1 and sec. 5.4.1.
        Hutter, Hoos & Leyton-Brown (2011), Sequential Model-Based Optimization for General Algorithm Configuration,
        sec. 4.1: the kernel of decisions.
    """

    def __init__(self, points: Points, costs: FloatArray, kernel: Kernel) -> None:
        latest = slice(-MOST_POINTS, None)
        points, costs = points.of(latest), costs[latest]
        self._center, self._scale = _center_and_scale(points)
        self._mean, self._spread = float(costs.mean()), float(costs.std()) or 1.0
        self._points = self._standardised(points)
        targets = (costs - self._mean) / self._spread
        self._kernel = kernel
        self._inverse = np.linalg.inv(kernel.of_data(Likeness(self._points, self._points)))
        self._weights = self._inverse @ targets

    def predict(self, points: Points) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of the trained cost, noise included, for each point."""
        points = self._standardised(points)
        across = Likeness(points, self._points).covariance(self._kernel)
        known = np.einsum("ij,jk,ik->i", across, self._inverse, across, optimize=True)
        variance = np.maximum(self._kernel.variance(points) - known, self._kernel.noise**2)
        return across @ self._weights * self._spread + self._mean, np.asarray(np.sqrt(variance) * self._spread)

    def _standardised(self, points: Points) -> Points:
        # a feature that hardly varied in the trials so far says little of one that differs, however much
        return replace(points, features=np.clip((points.features - self._center) / self._scale, -_FARTHEST, _FARTHEST))


def likeliest_kernel(points: Points, costs: FloatArray) -> Kernel:
    """Return the kernel of a small grid under which the data is likeliest."""
    center, scale = _center_and_scale(points)
    targets = (costs - costs.mean()) / (costs.std() or 1.0)
    return likeliest_of_all(replace(points, features=(points.features - center) / scale), targets)


def _center_and_scale(points: Points) -> tuple[FloatArray, FloatArray]:
    spread = points.features.std(axis=0)
    return points.features.mean(axis=0), np.where(spread > _CONSTANT, spread, 1.0)
