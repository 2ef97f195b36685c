"""Keep in later stages what earlier ones achieved, in the layers that a later stage does not wrap.

tfmot preserves zeros and clusters only in the layers that it wraps; every other layer drifts (a pruned but unclustered
layer loses its zeros while its neighbours are clustered). So after each optimizer step the weights of such layers are
projected back: zeros stay zero, and the weights of one cluster move together, by the mean of their own updates - the
centroid fine-tuning of Han et al. (2016), Deep Compression, sec. 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.cluster_lines import from_lines, lines_of
from paretune.objectives.keras_door import tf


def projection(values: NDArray[np.float32], *, clustered: bool, axis: int | None) -> Callable[[Any], Any]:
    """Return a function from updated weights to the nearest weights with the structure of ``values``.

    Args:
        values: Weights whose structure is kept: where they are zero, and, if ``clustered``, where they are equal.
        clustered: Whether equal values stay equal.
        axis: Along which every channel has clusters of its own; ``None`` for one set.
    """
    if not clustered:
        mask = tf.constant(values != 0, dtype=tf.float32)
        return lambda updated: updated * mask
    indices: list[Any] = []
    kept: list[bool] = []
    for line in lines_of(values, axis):
        centroids, index = np.unique(line, return_inverse=True)
        indices.append(index.reshape(-1) + len(kept))
        kept.extend(centroids != 0)
    segment = tf.constant(from_lines(np.stack(indices), values.shape, axis).reshape(-1), dtype=tf.int32)
    keep = tf.constant(np.array(kept, np.float32))

    def project(updated: Any) -> Any:
        means = tf.math.unsorted_segment_mean(tf.reshape(updated, [-1]), segment, len(kept))
        return tf.reshape(tf.gather(means * keep, segment), updated.shape)

    return project


def holder(held: Sequence[tuple[Any, bool, int | None]]) -> Callable[[], None]:
    """Return a function that projects every variable back to the structure it has now.

    Args:
        held: Each a variable, whether it is clustered, and the axis along which every channel has its own clusters.
    """
    projections = [
        (variable, projection(variable.numpy(), clustered=clustered, axis=axis)) for variable, clustered, axis in held
    ]

    def project_all() -> None:
        for variable, project in projections:
            variable.assign(project(variable))

    compiled: Callable[[], None] = tf.function(project_all)
    return compiled if projections else project_all
