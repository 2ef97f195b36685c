"""Cluster centroids as variables: one graph serves every cluster count, and none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.engine.numerics import Numerics
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.pipeline.centroid_start import NOWHERE


class Centroids:
    """The centroids of one weight variable, in a fixed number of places, and the weights that must stay zero.

    There is one set of them, or one for each output channel. Centroids and weights are trained together, as in tfmot:
    the gradient of a weight goes to its centroid and, straight through, to the weight itself, which decides later to
    which centroid it belongs.

    Args:
        owner: Layer that owns the variables.
        name: Prefix of their names.
        shape: Of the weights.
        places: Most clusters, of the whole tensor or of a channel.
        numerics: How to compute.
        axis: Along which every channel has clusters of its own; ``None`` for one set.
    """

    def __init__(self, owner: Any, name: str, shape: Any, places: int, numerics: Numerics, axis: int | None) -> None:
        sets = (places,) if axis is None else (shape[axis], places)
        self.values = owner.add_weight(
            f"{name}_centroids", shape=sets, initializer=keras.initializers.Constant(NOWHERE), trainable=True
        )
        self._kept = owner.add_weight(f"{name}_kept", shape=sets, initializer="ones", trainable=False)
        self._mask = owner.add_weight(f"{name}_mask", shape=shape, initializer="ones", trainable=False)
        self._is_on = owner.add_weight(f"{name}_clusters", shape=(), dtype=tf.bool, trainable=False)
        self._axis = axis
        self._numerics = numerics

    def apply(self, weights: Any) -> Any:
        """Return the weights as the layer is to use them: clustered or not, zeros kept; runs in the graph."""
        masked = weights * self._mask

        def clustered() -> Any:
            self.values.assign(self.values * self._kept)
            return _straight_through(self._nearest(masked, self.values), masked) * self._mask

        return tf.cond(self._is_on, clustered, lambda: tf.identity(masked))

    def start(
        self, centroids: NDArray[np.float32], mask: NDArray[np.bool_] | None, *, zero_stays: bool = False
    ) -> None:
        """Cluster from now on.

        Args:
            centroids: Where the clusters start; shape (clusters,) or (channels, clusters), at most as many clusters as
                there are places, those left over :data:`~paretune.objectives.pipeline.centroid_start.NOWHERE`.
            mask: Which weights may be other than zero; ``None`` for all.
            zero_stays: Whether centroids that are zero stay zero.
        """
        values = np.full(self.values.shape, NOWHERE, np.float32)
        values[..., : centroids.shape[-1]] = centroids
        self.values.assign(values)
        self._kept.assign((values != 0).astype(np.float32) if zero_stays else np.ones_like(values))
        self._is_on.assign(True)
        self._set_mask(mask)

    def stop(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Leave the weights as they are, but for those that must stay zero."""
        self._is_on.assign(False)
        self._set_mask(mask)

    def mask_of(self, weights: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which weights are nearest to a centroid other than zero."""
        return np.asarray(self._nearest(tf.constant(weights), tf.constant(centroids)) != 0)

    def _nearest(self, weights: Any, centroids: Any) -> Any:
        """Return the nearest centroid of every weight, among those of its channel where channels have their own."""
        if self._axis is None:
            return self._numerics.nearest(weights, centroids)
        rank, axis = len(weights.shape), self._axis
        others = [number for number in range(rank) if number != axis]
        found = self._numerics.nearest(tf.transpose(weights, [axis, *others]), centroids)
        return tf.transpose(found, [*range(1, axis + 1), 0, *range(axis + 1, rank)])

    def _set_mask(self, mask: NDArray[np.bool_] | None) -> None:
        shape = tuple(self._mask.shape)
        self._mask.assign(np.ones(shape, np.float32) if mask is None else mask.astype(np.float32))


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow is untyped
def _straight_through(clustered: Any, weights: Any) -> tuple[Any, Any]:
    """Return ``clustered``; its gradient goes to the weights too, as if they were it."""
    return tf.identity(clustered), lambda gradient: (gradient, gradient)
