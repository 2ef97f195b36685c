"""Cluster centroids as variables: one graph serves every cluster count, and none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.engine.numerics import Numerics
from paretune.objectives.keras_door import keras, tf

#: Where the places that a policy does not use lie: no weight is ever nearest to them.
_NOWHERE = 1e9


class Centroids:
    """The centroids of one weight variable, in a fixed number of places, and the weights that must stay zero.

    Clusters are those of the whole tensor, as a policy counts them. Centroids and weights are trained together, as in
    tfmot: the gradient of a weight goes to its centroid and, straight through, to the weight itself, which decides
    later to which centroid it belongs.

    Args:
        owner: Layer that owns the variables.
        name: Prefix of their names.
        shape: Of the weights.
        places: Most clusters.
        numerics: How to compute.
    """

    def __init__(self, owner: Any, name: str, shape: Any, places: int, numerics: Numerics) -> None:
        self.values = owner.add_weight(
            f"{name}_centroids", shape=(places,), initializer=keras.initializers.Constant(_NOWHERE), trainable=True
        )
        self._kept = owner.add_weight(f"{name}_kept", shape=(places,), initializer="ones", trainable=False)
        self._mask = owner.add_weight(f"{name}_mask", shape=shape, initializer="ones", trainable=False)
        self._is_on = owner.add_weight(f"{name}_clusters", shape=(), dtype=tf.bool, trainable=False)
        self._places = places
        self._numerics = numerics

    def apply(self, weights: Any) -> Any:
        """Return the weights as the layer is to use them: clustered or not, zeros kept; runs in the graph."""
        masked = weights * self._mask

        def clustered() -> Any:
            self.values.assign(self.values * self._kept)
            return _straight_through(self._numerics.nearest(masked, self.values), masked) * self._mask

        return tf.cond(self._is_on, clustered, lambda: tf.identity(masked))

    def start(
        self, centroids: NDArray[np.float32], mask: NDArray[np.bool_] | None, *, zero_stays: bool = False
    ) -> None:
        """Cluster from now on.

        Args:
            centroids: Where the clusters start; shape (clusters,), at most as many as there are places.
            mask: Which weights may be other than zero; ``None`` for all.
            zero_stays: Whether the centroid nearest zero stays zero.
        """
        values = np.full(self._places, _NOWHERE, np.float32)
        values[: centroids.size] = centroids
        kept = np.ones(self._places, np.float32)
        if zero_stays:
            kept[np.argmin(np.abs(values))] = 0
        self.values.assign(values)
        self._kept.assign(kept)
        self._is_on.assign(True)
        self._set_mask(mask)

    def stop(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Leave the weights as they are, but for those that must stay zero."""
        self._is_on.assign(False)
        self._set_mask(mask)

    def mask_of(self, weights: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which weights are nearest to a centroid other than zero."""
        return np.asarray(self._numerics.nearest(tf.constant(weights), tf.constant(centroids)) != 0)

    def _set_mask(self, mask: NDArray[np.bool_] | None) -> None:
        shape = tuple(self._mask.shape)
        self._mask.assign(np.ones(shape, np.float32) if mask is None else mask.astype(np.float32))


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow is untyped
def _straight_through(clustered: Any, weights: Any) -> tuple[Any, Any]:
    """Return ``clustered``; its gradient goes to the weights too, as if they were it."""
    return tf.identity(clustered), lambda gradient: (gradient, gradient)
