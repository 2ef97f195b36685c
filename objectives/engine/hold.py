"""Keep what earlier stages achieved in the layers that a stage does not train for it, as variables of the graph.

The compiled form of :mod:`paretune.objectives.reference.hold`: after each optimizer step, zeros stay zero, and the
weights of one cluster move together by the mean of their updates (Han et al. 2016, Deep Compression, sec. 3).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.cluster_lines import from_lines, lines_of
from paretune.objectives.keras_door import tf

_FREE, _ZEROS, _CLUSTERS = range(3)


class Hold:
    """Holds one weight variable to the structure it is given.

    Args:
        weights: The variable.
        places: Most clusters, of the whole tensor or of a channel.
        axis: Along which every channel has clusters of its own; ``None`` for one set.
    """

    def __init__(self, weights: Any, places: int, axis: int | None) -> None:
        self._weights = weights
        self._axis = axis
        self._places = places + 1  # the zeros of removed channels are held beside the clusters
        self._segment_count = self._places * (1 if axis is None else weights.shape[axis])
        self._mode = tf.Variable(_FREE, dtype=tf.int32, trainable=False)
        self._mask = tf.Variable(tf.ones(weights.shape), trainable=False)
        self._segments = tf.Variable(tf.zeros([tf.size(weights)], tf.int32), trainable=False)
        self._keep = tf.Variable(tf.ones([self._segment_count]), trainable=False)

    def project(self) -> None:
        """Bring the weights back to their structure; runs in the graph, after each step."""
        weights = self._weights

        def zeros() -> Any:
            return weights.assign(weights * self._mask).op

        def clusters() -> Any:
            means = tf.math.unsorted_segment_mean(tf.reshape(weights, [-1]), self._segments, self._segment_count)
            return weights.assign(tf.reshape(tf.gather(means * self._keep, self._segments), weights.shape)).op

        tf.switch_case(self._mode.read_value(), {_FREE: tf.no_op, _ZEROS: zeros, _CLUSTERS: clusters})

    def release(self) -> None:
        """Let the weights move freely."""
        self._mode.assign(_FREE)

    def hold_zeros(self, values: NDArray[np.float32]) -> None:
        """Keep zero what is zero in ``values``."""
        self._mask.assign((values != 0).astype(np.float32))
        self._mode.assign(_ZEROS)

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
