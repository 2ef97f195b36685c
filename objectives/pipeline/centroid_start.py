"""Where the centroids of a clustered layer start."""

import numpy as np
from numpy.typing import NDArray
from tensorflow_model_optimization.python.core.clustering.keras.clustering_centroids import (
    CentroidsInitializerFactory,
)

from paretune.objectives.keras_door import tf, tfmot

#: Spread evenly between the extremes: deterministic (tfmot's k-means++ draws unseeded numbers, and fails when one sign
#: has fewer weights than centroids), and best after fine-tuning in Han et al. (2016), sec. 3.2.
CENTROID_START = tfmot.clustering.keras.CentroidInitialization.LINEAR


def initial_centroids(weights: NDArray[np.float32], clusters: int, *, keeps_zeros: bool) -> NDArray[np.float32]:
    """Return where tfmot lets the clusters of a tensor start.

    Args:
        weights: The tensor.
        clusters: How many, at least 2; at least 3 with ``keeps_zeros``.
        keeps_zeros: Whether one of them is zero, the others shared out among negative and positive weights.

    Returns:
        Shape (clusters,), or less where all weights are zero.
    """
    start = CentroidsInitializerFactory.get_centroid_initializer(CENTROID_START)
    centroids = start(tf.constant(weights), clusters, preserve_sparsity=keeps_zeros).get_cluster_centroids()
    return np.asarray(centroids, np.float32)
