"""Keep what earlier stages achieved in the layers that a stage does not train for it, as variables of the graph.

The compiled form of :mod:`paretune.objectives.reference.hold`: after each optimizer step, zeros stay zero, the weights
of one cluster move together by the mean of their updates (Han et al. 2016, Deep Compression, sec. 3), and a kernel
of low rank is projected on what its singular vectors span (after Xu et al. 2019, Trained rank pruning).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.keras_door import tf
from paretune.objectives.kernels.cluster_lines import from_lines, lines_of
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.ranks.spectrum import as_kernel, as_matrix, projected, span
from paretune.spaces.policies.decompositions import CHANNELS, largest_rank, matrix_shape

_FREE, _ZEROS, _RANK, _CLUSTERS = range(4)


class Hold:
    """Holds one weight variable to the structure it is given.

    Args:
        weights: The variable.
        places: Most clusters, of the whole tensor or of a channel; 1 where nothing is clustered yet.
        axis: Along which every channel has clusters of its own; ``None`` for one set.
        decomposition: How ranks split kernels.
    """

    def __init__(self, weights: Any, places: int, axis: int | None, decomposition: str = CHANNELS) -> None:
        self._weights = weights
        self._axis = axis
        self._places = places + 1  # the zeros of removed channels are held beside the clusters
        self._segment_count = self._places * (1 if axis is None else weights.shape[axis])
        self._mode = tf.Variable(_FREE, dtype=tf.int32, trainable=False)
        self._mask = tf.Variable(tf.ones(weights.shape), trainable=False)
        self._clusters = places > 1
        if self._clusters:
            self._segments = tf.Variable(tf.zeros([tf.size(weights)], tf.int32), trainable=False)
            self._keep = tf.Variable(tf.ones([self._segment_count]), trainable=False)
        self._decomposition = decomposition
        # of any rank: what is there beyond it is not used
        places_of_basis = [min(matrix_shape(weights.shape, decomposition)), largest_rank(weights.shape, decomposition)]
        self._basis = tf.Variable(tf.zeros(places_of_basis), trainable=False)
        self._rank = tf.Variable(0, dtype=tf.int32, trainable=False)

    def project(self) -> None:
        """Bring the weights back to their structure; runs in the graph, after each step."""
        weights = self._weights

        def zeros() -> Any:
            return weights.assign(weights * self._mask).op

        def clusters() -> Any:
            means = tf.math.unsorted_segment_mean(tf.reshape(weights, [-1]), self._segments, self._segment_count)
            return weights.assign(tf.reshape(tf.gather(means * self._keep, self._segments), weights.shape)).op

        def rank() -> Any:
            matrix = as_matrix(weights, self._decomposition, tf)
            low = projected(matrix, self._basis[:, : self._rank], tf.matmul)
            return weights.assign(as_kernel(low, weights.shape, self._decomposition, tf) * self._mask).op

        ways = {_FREE: tf.no_op, _ZEROS: zeros, _RANK: rank}
        tf.switch_case(self._mode.read_value(), {**ways, _CLUSTERS: clusters} if self._clusters else ways)

    def release(self) -> None:
        """Let the weights move freely."""
        self._mode.assign(_FREE)

    def hold_shape(self, task: StageTask, layer: str, values: NDArray[np.float32]) -> None:
        """Keep the rank of ``values`` and what is zero in them, as far as a task says so of their layer."""
        rank = task.rank(layer)
        if rank is not None:
            self.hold_rank(values, rank, zeros=task.keeps_zeros(layer))
        elif task.keeps_zeros(layer):
            self.hold_zeros(values)
        else:
            self.release()

    def hold_zeros(self, values: NDArray[np.float32]) -> None:
        """Keep zero what is zero in ``values``."""
        self._mask.assign((values != 0).astype(np.float32))
        self._mode.assign(_ZEROS)

    def hold_rank(self, values: NDArray[np.float32], rank: int, *, zeros: bool) -> None:
        """Keep the rank of ``values``, and zero what is zero in them if ``zeros``: whole rows and columns."""
        basis = np.zeros(self._basis.shape, np.float32)
        basis[:, :rank] = span(values, rank, self._decomposition)
        self._basis.assign(basis)
        self._rank.assign(rank)
        self._mask.assign((values != 0).astype(np.float32) if zeros else np.ones(values.shape, np.float32))
        self._mode.assign(_RANK)

    def hold_clusters(self, values: NDArray[np.float32]) -> None:
        """Keep equal what is equal in ``values``, and zero what is zero."""
        lines = lines_of(values, self._axis)
        keep = np.ones((len(lines), self._places), np.float32)
        segments = np.zeros(lines.shape, np.int32)
        for number, line in enumerate(lines):
            centroids, index = np.unique(line, return_inverse=True)
            keep[number, : centroids.size] = centroids != 0
            segments[number] = number * self._places + index
        self._segments.assign(from_lines(segments, values.shape, self._axis).reshape(-1))
        self._keep.assign(keep.reshape(-1))
        self._mode.assign(_CLUSTERS)
