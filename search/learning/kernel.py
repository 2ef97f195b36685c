"""How alike the outcomes of two policies are taken to be: the kernels of the regression, and which of them fits."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.search.front import FloatArray

#: What is tried against the data: how far features reach, how large deviations from the trend are, those that follow
#: the features and those that follow the decisions, and how noisy training is. Variances are in units of the spread of
#: the costs seen.
_LENGTHS = (0.7, 1.5, 3.0, 6.0)
_DEVIATIONS = (0.1, 0.3, 1.0)
_OF_DECISIONS = (0.0, 0.1, 0.3, 1.0)
_NOISES = (0.05, 0.1, 0.2, 0.4, 0.7)
#: Policies that decide differently about so large a share of the units have little in common.
_REACH = 0.4
#: Kernels are chosen anew whenever there is a quarter more data than when they were chosen last.
_FIRST_CHOICE, _GROWTH = 5, 1.25
_MOST_POINTS_OF_CHOICE = 100
#: Added to the variance of every measurement, so that equal points can be told apart.
_JITTER = 1e-6


@dataclass(frozen=True, slots=True)
class Points:
    """Policies as the regression sees them.

    Attributes:
        features: Shape (points, features).
        decisions: Number of what is decided about each unit, shape (points, units); ``None`` where nothing is compared
            by its decisions.
    """

    features: FloatArray
    decisions: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def of(self, places: slice) -> "Points":
        """Return some of the points."""
        return Points(
            self.features[places],
            None if self.decisions is None else self.decisions[places],
        )


class Likeness:
    """What each of some points has in common with each of others, whatever the kernel."""

    def __init__(self, points: Points, others: Points) -> None:
        rows, columns = points.features, others.features
        width = rows.shape[1]
        products = rows @ columns.T
        squares = (rows**2).sum(axis=1)[:, None] + (columns**2).sum(axis=1)[None, :] - 2 * products
        self._products = products / width
        self._distances = np.maximum(squares, 0) / width
        self._decided = np.zeros(products.shape)
        if points.decisions is not None and others.decisions is not None:
            share = differing(points.decisions, others.decisions) / max(1, points.decisions.shape[1])
            self._decided = np.exp(-share / _REACH)

    def covariance(self, kernel: "Kernel") -> FloatArray:
        """Return the covariance under a kernel, noise left out; shape (points, others)."""
        smooth = np.exp(-self._distances / (2 * kernel.length**2))
        return np.asarray(1.0 + self._products + kernel.deviation * smooth + kernel.of_decisions * self._decided)


@dataclass(frozen=True, slots=True)
class Kernel:
    """How outcomes vary, in standardised units: a linear trend in the features, and what deviates from it.

    Attributes:
        length: Distance of features over which deviations are alike.
        deviation: Variance of these.
        of_decisions: Variance of deviations that are alike as far as policies decide alike.
        noise: Standard deviation of one training.
    """

    length: float
    deviation: float
    of_decisions: float
    noise: float

    def variance(self, points: Points) -> FloatArray:
        """Return the variance of the outcome of each point on its own, noise included."""
        trend = 1.0 + (points.features**2).mean(axis=1)
        decided = self.of_decisions if points.decisions is not None else 0.0
        return np.asarray(trend + self.deviation + decided + self.noise**2)

    def of_data(self, likeness: Likeness) -> FloatArray:
        """Return the covariance of measurements of the same points."""
        own = likeness.covariance(self)
        return np.asarray(own + (self.noise**2 + _JITTER) * np.eye(len(own)))


def likeliest_of_all(points: Points, targets: FloatArray) -> Kernel:
    """Return the kernel of a small grid under which standardised costs are likeliest."""
    likeness = Likeness(points, points)
    of_decisions = _OF_DECISIONS if points.decisions is not None else (0.0,)
    grid = list(itertools.starmap(Kernel, itertools.product(_LENGTHS, _DEVIATIONS, of_decisions, _NOISES)))
    return grid[int(_likelihoods(np.stack([kernel.of_data(likeness) for kernel in grid]), targets).argmax())]


def points_of_choice(count: int) -> int:
    """Return from how many points to choose a kernel where there are ``count``: the same for a while."""
    count = min(count, _MOST_POINTS_OF_CHOICE)
    steps = max(0, math.floor(math.log(max(count, 1) / _FIRST_CHOICE) / math.log(_GROWTH) + 1e-9))
    return min(count, math.ceil(_FIRST_CHOICE * _GROWTH**steps))


def _likelihoods(covariances: FloatArray, targets: FloatArray) -> FloatArray:
    """Return the logarithm of how likely the targets are under each covariance, but for a constant."""
    factors = np.linalg.cholesky(covariances)
    halves = np.linalg.solve(factors, np.broadcast_to(targets[:, None], (len(factors), len(targets), 1)))
    volumes = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    return np.asarray(-0.5 * (halves**2).sum(axis=(1, 2)) - volumes)


def differing(decisions: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Return about how many units each two policies decide differently; shape (policies, others)."""
    # options fit into 16 bits; whole columns at a time, several times as fast as comparing 64 bits across rows
    columns, other_columns = (np.ascontiguousarray(each.T, dtype=np.uint16) for each in (decisions, others))
    count = np.zeros((len(decisions), len(others)), dtype=np.uint16)
    for column, other in zip(columns, other_columns, strict=True):
        count += column[:, None] != other[None, :]
    return count
