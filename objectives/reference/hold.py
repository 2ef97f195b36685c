"""Keep in later stages what earlier ones achieved, in the layers that a later stage does not wrap.

tfmot preserves zeros and clusters only in the layers that it wraps; every other layer drifts (a pruned but unclustered
layer loses its zeros while its neighbours are clustered). So after each optimizer step the weights of such layers are
projected back: zeros stay zero, the weights of one cluster move together, by the mean of their own updates - the
centroid fine-tuning of Han et al. (2016), Deep Compression, sec. 3 - and a kernel of low rank stays in what its first
singular vectors span, after Xu et al. (2019), Trained rank pruning for efficient deep neural networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.keras_door import tf
from paretune.objectives.ranks.spectrum import matrix_shape, projected, span


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """A variable, and what of its structure is kept.

    Attributes:
        variable: Its values have the structure when training begins.
        zeros: Whether what is zero stays zero.
        clustered: Whether also what is equal stays equal.
        rank: The rank that stays; the zeros are then whole rows and columns of the matrix.
    """

    variable: Any
    zeros: bool = True
    clustered: bool = False
    rank: int | None = None


def projection(held: Held) -> Callable[[Any], Any]:
    """Return a function from updated weights to the nearest weights with the structure that there is now."""
    values: NDArray[np.float32] = held.variable.numpy()
    mask = tf.constant(values != 0, dtype=tf.float32) if held.zeros else tf.ones(values.shape)
    if held.rank is not None:
        basis, matrix = tf.constant(span(values, held.rank)), matrix_shape(values.shape)
        return lambda updated: tf.reshape(projected(tf.reshape(updated, matrix), basis, tf.matmul), values.shape) * mask
    if not held.clustered:
        return lambda updated: updated * mask
    centroids, index = np.unique(values, return_inverse=True)
    segment = tf.constant(index.reshape(-1), dtype=tf.int32)
    keep = tf.constant(centroids != 0, dtype=tf.float32)

    def project(updated: Any) -> Any:
        means = tf.math.unsorted_segment_mean(tf.reshape(updated, [-1]), segment, len(centroids))
        return tf.reshape(tf.gather(means * keep, segment), updated.shape)

    return project


def holder(held: Sequence[Held]) -> Callable[[], None]:
    """Return a function that projects every variable back to the structure it has now."""
    projections = [(each.variable, projection(each)) for each in held]

    def project_all() -> None:
        for variable, project in projections:
            variable.assign(project(variable))

    compiled: Callable[[], None] = tf.function(project_all)
    return compiled if projections else project_all
