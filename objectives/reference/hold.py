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
from paretune.objectives.kernels.cluster_lines import from_lines, lines_of
from paretune.objectives.ranks.spectrum import as_kernel, as_matrix, projected, span
from paretune.spaces.policies.decompositions import CHANNELS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """A variable, and what of its structure is kept.

    Attributes:
        variable: Its values have the structure when training begins.
        zeros: Whether what is zero stays zero.
        clustered: Whether also what is equal stays equal.
        axis: Along which every channel has clusters of its own; ``None`` for one set.
        rank: The rank that stays; the zeros are then whole rows and columns of the matrix.
        decomposition: How that rank splits the kernel.
    """

    variable: Any
    zeros: bool = True
    clustered: bool = False
    axis: int | None = None
    rank: int | None = None
    decomposition: str = CHANNELS


def projection(held: Held) -> Callable[[Any], Any]:
    """Return a function from updated weights to the nearest weights with the structure that there is now."""
    values: NDArray[np.float32] = held.variable.numpy()
    mask = tf.constant(values != 0, dtype=tf.float32) if held.zeros else tf.ones(values.shape)
    if held.rank is not None:
        how, basis = held.decomposition, tf.constant(span(values, held.rank, held.decomposition))

        def lower(updated: Any) -> Any:
            low = projected(as_matrix(updated, how, tf), basis, tf.matmul)
            return as_kernel(low, values.shape, how, tf) * mask

        return lower
    if not held.clustered:
        return lambda updated: updated * mask
    indices: list[Any] = []
    kept: list[bool] = []
    for line in lines_of(values, held.axis):
        centroids, index = np.unique(line, return_inverse=True)
        indices.append(index.reshape(-1) + len(kept))
        kept.extend(centroids != 0)
    segment = tf.constant(from_lines(np.stack(indices), values.shape, held.axis).reshape(-1), dtype=tf.int32)
    keep = tf.constant(np.array(kept, np.float32))

    def project(updated: Any) -> Any:
        means = tf.math.unsorted_segment_mean(tf.reshape(updated, [-1]), segment, len(kept))
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
