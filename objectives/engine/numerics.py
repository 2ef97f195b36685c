"""The two kernels that a compiled stage may compute in another way than tfmot, and what tfmot does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paretune.objectives.keras_door import tf


@dataclass(frozen=True, slots=True)
class Numerics:
    """How a compiled stage computes.

    Attributes:
        nearest: Takes weights and centroids, shape (places,), or (lines, places) for weights of shape (lines, ...), a
            line of centroids for each of theirs; returns the nearest centroid of every weight, in the shape of the
            weights. The gradient goes to the centroids.
        kth_largest: Takes magnitudes, shape (weights,), and k from 1; returns the k-th largest.
    """

    nearest: Callable[[Any, Any], Any]
    kth_largest: Callable[[Any, Any], Any]


def nearest_by_distance(weights: Any, centroids: Any) -> Any:
    """Compare every weight with every centroid, as tfmot does: weights x centroids numbers a step."""
    by_line = len(centroids.shape) - 1
    among = [1] * (len(weights.shape) - by_line)
    beside = tf.reshape(centroids, [*centroids.shape[:-1], *among, centroids.shape[-1]]) if by_line else centroids
    index = tf.argmin(tf.abs(tf.expand_dims(weights, axis=-1) - beside), axis=-1)
    return tf.gather(centroids, index, batch_dims=by_line)


def nearest_by_search(weights: Any, centroids: Any) -> Any:
    """Look every weight up between the midpoints of the sorted centroids.

    Gives what :func:`nearest_by_distance` gives, but for weights within rounding of a midpoint, at a cost that grows
    with the logarithm of the number of centroids.
    """
    by_line = len(centroids.shape) - 1
    ascending = tf.gather(centroids, tf.argsort(centroids), batch_dims=by_line)
    midpoints = tf.stop_gradient((ascending[..., 1:] + ascending[..., :-1]) / 2)
    lines = tf.reshape(weights, [weights.shape[0], -1] if by_line else [-1])
    index = tf.searchsorted(midpoints, tf.stop_gradient(lines))
    return tf.reshape(tf.gather(ascending, index, batch_dims=by_line), weights.shape)


def kth_largest_by_sorting(magnitudes: Any, k: Any) -> Any:
    """Sort all magnitudes, as tfmot does."""
    return tf.gather(tf.math.top_k(magnitudes, k=tf.size(magnitudes)).values, k - 1)


def kth_largest_by_selection(magnitudes: Any, k: Any) -> Any:
    """Select without sorting: the same number, in linear time."""
    return tf.raw_ops.NthElement(input=magnitudes, n=k - 1, reverse=True)


#: What trials run with.
FAST = Numerics(nearest=nearest_by_search, kth_largest=kth_largest_by_selection)
#: Bit for bit what tfmot computes, ties included; for tests.
AS_TFMOT = Numerics(nearest=nearest_by_distance, kth_largest=kth_largest_by_sorting)
