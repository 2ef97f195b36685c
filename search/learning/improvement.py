"""How much a trial is expected to enlarge the volume that the front covers."""

import math

import numpy as np

from paretune.search.front import FloatArray, non_dominated
from paretune.search.learning.prediction import Prediction

#: Nodes and weights for the mean over a normal distribution: 7 points are exact for polynomials of degree 13.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_WEIGHTS = _WEIGHTS / math.sqrt(2 * math.pi)


def expected_improvement(guess: Prediction, front: FloatArray, reference: FloatArray) -> FloatArray:
    """Return the expected gain in hypervolume of each candidate.

    Only the first objective, the task's metric, is taken as uncertain; the others are nearly known before training.

    Args:
        guess: Of the candidates.
        front: Shape (points, objectives), all minimised; may be empty.
        reference: The point that volumes are measured from, shape (objectives,).

    Returns:
        Shape (candidates,).

    References:
        Emmerich, Giannakoglou & Naujoks (2006), Single- and multiobjective evolutionary optimization assisted by
        Gaussian random field metamodels.
    """
    front = front[(front < reference).all(axis=1)]
    front = front[non_dominated(front)] if len(front) else front
    gain = np.zeros(len(guess.mean))
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        points = guess.mean.copy()
        points[:, 0] = guess.first(node)
        gain += weight * _gains(points, front, reference)
    return gain


def _gains(points: FloatArray, front: FloatArray, reference: FloatArray) -> FloatArray:
    return (
        _gains_in_2d(points, front, reference) if points.shape[1] == 2 else _gains_by_library(points, front, reference)
    )


def _gains_in_2d(points: FloatArray, front: FloatArray, reference: FloatArray) -> FloatArray:
    """Return what each point adds on its own: a sum over the steps of the front's staircase."""
    order = np.argsort(front[:, 0])
    first = np.concatenate([[-np.inf], front[order, 0], [reference[0]]])
    second = np.concatenate([[reference[1]], front[order, 1]])
    # between two neighbours of the front, everything below the height of the left one is still free
    width = np.clip(np.minimum(first[1:], reference[0])[None, :] - np.maximum(first[:-1], points[:, :1]), 0, None)
    height = np.clip(second[None, :] - points[:, 1:], 0, None)
    return np.asarray((width * height).sum(axis=1))


def _gains_by_library(points: FloatArray, front: FloatArray, reference: FloatArray) -> FloatArray:
    import moocore

    before = float(moocore.hypervolume(front, ref=reference)) if len(front) else 0.0
    gains = np.zeros(len(points))
    inside = (points < reference).all(axis=1)
    if len(front):
        beaten = np.all(front[None, :, :] <= points[:, None, :], axis=2)
        inside &= ~np.any(beaten, axis=1)
    for place in np.flatnonzero(inside):
        gains[place] = float(moocore.hypervolume(np.vstack([front, points[place]]), ref=reference)) - before
    return gains
