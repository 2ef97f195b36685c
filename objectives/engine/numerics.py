"""The two kernels that a compiled stage may compute in another way than tfmot, and what tfmot does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paretune.objectives.keras_door import tf


@dataclass(frozen=True, slots=True)
class Numerics:
    """How a compiled stage computes.

    Attributes:
        nearest: Takes weights and centroids, shape (places,); returns the nearest centroid of every weight, in the
            shape of the weights. The gradient goes to the centroids.
        kth_largest: Takes magnitudes, shape (weights,), and k from 1; returns the k-th largest.
    """

    nearest: Callable[[Any, Any], Any]
    kth_largest: Callable[[Any, Any], Any]


def nearest_by_distance(weights: Any, centroids: Any) -> Any:
    """Compare every weight with every centroid, as tfmot does: weights x centroids numbers a step."""
    index = tf.argmin(tf.abs(tf.expand_dims(weights, axis=-1) - centroids), axis=-1)
    return tf.gather(centroids, index)


def nearest_by_search(weights: Any, centroids: Any) -> Any:
    """Look every weight up between the midpoints of the sorted centroids.

    Gives what :func:`nearest_by_distance` gives, but for weights within rounding of a midpoint, at a cost that grows
    with the logarithm of the number of centroids.
    """
    ascending = tf.gather(centroids, tf.argsort(centroids))
    midpoints = tf.stop_gradient((ascending[1:] + ascending[:-1]) / 2)
    index = tf.searchsorted(midpoints, tf.stop_gradient(tf.reshape(weights, [-1])))
    return tf.reshape(tf.gather(ascending, index), weights.shape)


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
