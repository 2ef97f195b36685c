"""How much of a loss training wins back: regression of trained costs on what is known before."""

import math
from dataclasses import dataclass

import numpy as np

from paretune.search.front import FloatArray

#: What is tried against the data: how far features reach, how large deviations from the trend are, and how noisy
#: training is. Variances are in units of the spread of the costs seen.
_LENGTHS = (0.7, 1.5, 3.0, 6.0)
_DEVIATIONS = (0.1, 0.3, 1.0)
_NOISES = (0.05, 0.1, 0.2, 0.4)
#: They are chosen anew whenever there is a quarter more data than when they were chosen last.
_FIRST_CHOICE, _GROWTH = 5, 1.25
_MOST_POINTS_OF_CHOICE = 100
#: By how many standard deviations of the trials a feature can stand out.
_FARTHEST = 10.0
#: A feature that deviates less than this has not varied; it is taken in its own unit then.
_CONSTANT = 1e-6
#: Most points that are remembered, the latest: a step stays well below a tenth of a second.
MOST_POINTS = 300


@dataclass(frozen=True, slots=True)
class Kernel:
    """How a process varies, in standardised units.

    Attributes:
        length: Distance over which deviations from the trend are alike.
        deviation: Variance of these.
        noise: Standard deviation of one training.
    """

    length: float
    deviation: float
    noise: float


class GaussianProcess:
    """A linear trend in the features, and what deviates from it smoothly.

    Args:
        features: Shape (points, features); at least 2 points, oldest first.
        costs: Shape (points,).
        kernel: As from :func:`likeliest_kernel`.

    References:
        Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, alg. 2.1 and sec. 5.4.1.
    """

    def __init__(self, features: FloatArray, costs: FloatArray, kernel: Kernel) -> None:
        features, costs = features[-MOST_POINTS:], costs[-MOST_POINTS:]
        self._center, spread = features.mean(axis=0), features.std(axis=0)
        self._scale = np.where(spread > _CONSTANT, spread, 1.0)
        self._mean, self._spread = float(costs.mean()), float(costs.std()) or 1.0
        self._rows = self._standardised(features)
        targets = (costs - self._mean) / self._spread
        self._kernel = kernel
        self._inverse = np.linalg.inv(_covariance_of_data(self._kernel, self._rows))
        self._weights = self._inverse @ targets

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation of the trained cost, noise included, for each row."""
        rows = self._standardised(features)
        across = _covariance(self._kernel, rows, self._rows)
        own = 1.0 + (rows**2).mean(axis=1) + self._kernel.deviation + self._kernel.noise**2
        variance = own - np.einsum("ij,jk,ik->i", across, self._inverse, across, optimize=True)
        deviation = np.sqrt(np.maximum(variance, self._kernel.noise**2))
        return across @ self._weights * self._spread + self._mean, np.asarray(deviation * self._spread)

    def _standardised(self, features: FloatArray) -> FloatArray:
        # a feature that hardly varied in the trials so far says little of one that differs, however much
        return np.asarray(np.clip((features - self._center) / self._scale, -_FARTHEST, _FARTHEST))


_GRID = [Kernel(length, deviation, noise) for length in _LENGTHS for deviation in _DEVIATIONS for noise in _NOISES]


def likeliest_kernel(features: FloatArray, costs: FloatArray) -> Kernel:
    """Return the kernel of a small grid under which the data is likeliest."""
    spread = features.std(axis=0)
    rows = (features - features.mean(axis=0)) / np.where(spread > _CONSTANT, spread, 1.0)
    targets = (costs - costs.mean()) / (costs.std() or 1.0)
    return max(_GRID, key=lambda kernel: _likelihood(kernel, rows, targets))


def points_of_choice(count: int) -> int:
    """Return from how many points to choose a kernel where there are ``count``: the same for a while."""
    count = min(count, _MOST_POINTS_OF_CHOICE)
    steps = max(0, math.floor(math.log(max(count, 1) / _FIRST_CHOICE) / math.log(_GROWTH) + 1e-9))
    return min(count, math.ceil(_FIRST_CHOICE * _GROWTH**steps))


def _likelihood(kernel: Kernel, rows: FloatArray, targets: FloatArray) -> float:
    factor = np.linalg.cholesky(_covariance_of_data(kernel, rows))
    half = np.linalg.solve(factor, targets)
    return -0.5 * float(half @ half) - float(np.log(np.diag(factor)).sum())


def _covariance_of_data(kernel: Kernel, rows: FloatArray) -> FloatArray:
    return np.asarray(_covariance(kernel, rows, rows) + (kernel.noise**2 + 1e-6) * np.eye(len(rows)))


def _covariance(kernel: Kernel, rows: FloatArray, others: FloatArray) -> FloatArray:
    width = rows.shape[1]
    products = rows @ others.T
    distances = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None, :] - 2 * products
    smooth = np.exp(-np.maximum(distances, 0) / (2 * kernel.length**2 * width))
    return np.asarray(1.0 + products / width + kernel.deviation * smooth)
