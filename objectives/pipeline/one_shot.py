"""Impose a policy on weights without training: the proxy rung, and the exact end of the pruning stage."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.cluster_lines import channel_axis, from_lines, lines_of
from paretune.objectives.weights import LayerWeights, compressed_variables
from paretune.spaces.policy import LayerPolicy, Policy
from paretune.spaces.recipe import TENSOR

_LLOYD_ITERATIONS = 10

FloatArray = NDArray[np.float32]


def with_exact_zeros(model: Any, weights: LayerWeights, policy: Policy) -> LayerWeights:
    """Return the weights with at least the zeros that each layer's sparsity asks for.

    tfmot keeps every weight that ties with the threshold, so layers with repeated values can end with too few zeros;
    here the smallest magnitudes become zero, the first of equal ones first.
    """
    return _on_compressed(model, weights, policy, lambda values, decided, kind: _prune(values, decided.sparsity))


def one_shot(model: Any, weights: LayerWeights, policy: Policy, cluster_scope: str = TENSOR) -> LayerWeights:
    """Return the weights pruned by magnitude and clustered by 1-D k-means, as the policy asks, without training.

    Args:
        model: For its layers; it is only read.
        weights: The trained weights.
        policy: What to impose.
        cluster_scope: What shares one set of clusters.
    """

    def impose(values: FloatArray, decided: LayerPolicy, kind: str) -> FloatArray:
        pruned = _prune(values, decided.sparsity)
        if decided.clusters is None:
            return pruned
        axis, clusters = channel_axis(kind, cluster_scope), decided.clusters
        lines = [_cluster(line, clusters) for line in lines_of(pruned, axis)]
        return np.ascontiguousarray(from_lines(np.stack(lines), pruned.shape, axis))

    return _on_compressed(model, weights, policy, impose)


def _on_compressed(
    model: Any, weights: LayerWeights, policy: Policy, impose: Callable[[FloatArray, LayerPolicy, str], FloatArray]
) -> LayerWeights:
    result = {name: list(arrays) for name, arrays in weights.items()}
    for name, decided in policy.items():
        layer = model.get_layer(name)
        for variable in compressed_variables(layer):
            index = next(i for i, candidate in enumerate(layer.weights) if candidate is variable)
            result[name][index] = impose(result[name][index], decided, type(layer).__name__)
    return result


def _prune(values: FloatArray, sparsity: float) -> FloatArray:
    zeros = values.size - round(values.size * (1 - sparsity))
    if zeros <= np.count_nonzero(values == 0):
        return values
    pruned = values.copy().reshape(-1)
    pruned[np.argsort(np.abs(pruned), kind="stable")[:zeros]] = 0.0
    return pruned.reshape(values.shape)


def _cluster(values: FloatArray, clusters: int) -> FloatArray:
    """Return ``values`` moved to at most ``clusters`` distinct ones; zeros stay zero and count as one cluster."""
    is_zero = values == 0
    free = np.sort(values[~is_zero].reshape(-1)).astype(np.float64)
    count = clusters - bool(is_zero.any())
    if free.size == 0 or count < 1 or np.unique(free).size <= count:
        return values
    # Quantiles of the sorted weights start Lloyd's algorithm; in one dimension a cluster is an interval.
    centroids = np.quantile(free, (np.arange(count) + 0.5) / count)
    total = np.concatenate([[0.0], np.cumsum(free)])
    for _ in range(_LLOYD_ITERATIONS):
        edges = np.concatenate(
            [[0], np.searchsorted(free, (centroids[1:] + centroids[:-1]) / 2), [free.size]],
        )
        sizes = np.diff(edges)
        centroids = np.where(sizes > 0, (total[edges[1:]] - total[edges[:-1]]) / np.maximum(sizes, 1), centroids)
    nearest = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
    return np.where(is_zero, 0.0, centroids[nearest]).astype(np.float32)
