"""Impose a policy on weights without training: the proxy rung, and the exact end of the pruning stage."""

from collections.abc import Callable, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.kernels.cluster_lines import channel_axis
from paretune.objectives.kernels.patterns import KernelView, pruned
from paretune.objectives.kernels.views import kernel_views
from paretune.objectives.kernels.weights import LayerWeights, compressed_variables
from paretune.spaces.candidates.stage_recipes import TENSOR
from paretune.spaces.policies.patterns import UNSTRUCTURED
from paretune.spaces.policies.policy import LayerPolicy, Policy

_LLOYD_ITERATIONS = 10

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

#: Takes a kernel, what is decided about its layer, the Keras class of the layer, how patterns see the kernel, and which
#: of the weights there are to decide about, where channels were removed (else ``None``); returns the kernel with what
#: was decided.
_Impose = Callable[[FloatArray, LayerPolicy, str, KernelView, BoolArray | None], FloatArray]


def with_exact_zeros(
    model: Any, weights: LayerWeights, policy: Policy, pattern: str, *, start: LayerWeights, narrowed: Set[str]
) -> LayerWeights:
    """Return the weights with at least the zeros that each layer's sparsity and the pattern ask for.

    tfmot keeps every weight that ties with the threshold, so layers with repeated values can end with too few zeros;
    here the smallest magnitudes become zero, the first of equal ones first.

    Args:
        model: For its architecture.
        weights: After pruning.
        policy: What was asked.
        pattern: What zeros keep to, but in narrowed layers.
        start: Before pruning.
        narrowed: Layers in which what is zero in ``start`` belongs to removed channels.
    """

    def impose(
        values: FloatArray, decided: LayerPolicy, kind: str, view: KernelView, alive: BoolArray | None
    ) -> FloatArray:
        return _prune(values, decided.sparsity, pattern, view, alive)

    return _on_compressed(model, weights, policy, impose, start=start, narrowed=narrowed)


def one_shot(
    model: Any,
    weights: LayerWeights,
    policy: Policy,
    *,
    pattern: str = UNSTRUCTURED,
    cluster_scope: str = TENSOR,
    narrowed: Set[str] = frozenset(),
) -> LayerWeights:
    """Return the weights pruned by magnitude and clustered by 1-D k-means, as the policy asks, without training.

    Args:
        model: For its architecture.
        weights: Trained; zero for what belongs to removed channels.
        policy: What to impose.
        pattern: What zeros keep to.
        cluster_scope: What shares one set of clusters.
        narrowed: Layers of which some weights belong to removed channels: sparsity and clusters are about the others,
            and zeros keep to no pattern.
    """

    def impose(
        values: FloatArray, decided: LayerPolicy, kind: str, view: KernelView, alive: BoolArray | None
    ) -> FloatArray:
        zeroed = _prune(values, decided.sparsity, pattern, view, alive)
        if decided.clusters is None:
            return zeroed
        return _cluster(zeroed, decided.clusters, channel_axis(kind, cluster_scope), alive)

    return _on_compressed(model, weights, policy, impose, start=weights, narrowed=narrowed)


def _on_compressed(
    model: Any, weights: LayerWeights, policy: Policy, impose: _Impose, *, start: LayerWeights, narrowed: Set[str]
) -> LayerWeights:
    result = {name: list(arrays) for name, arrays in weights.items()}
    for name, decided in policy.items():
        layer = model.get_layer(name)
        for variable, view in zip(compressed_variables(layer), kernel_views(layer), strict=True):
            index = next(i for i, candidate in enumerate(layer.weights) if candidate is variable)
            alive = start[name][index] != 0 if name in narrowed else None
            result[name][index] = impose(result[name][index], decided, type(layer).__name__, view, alive)
    return result


def _prune(values: FloatArray, sparsity: float, pattern: str, view: KernelView, alive: BoolArray | None) -> FloatArray:
    if alive is None:
        return pruned(values, sparsity, pattern, view)
    result = values.copy()
    left = values[alive]
    result[alive] = pruned(left, sparsity, UNSTRUCTURED, KernelView(1, left.size, 1))
    return result


def _cluster(values: FloatArray, clusters: int, axis: int | None, alive: BoolArray | None) -> FloatArray:
    """Return a kernel of which every set, or what is alive of it, has at most so many distinct values."""
    result = values.copy()
    there = np.ones(values.shape, np.bool_) if alive is None else alive
    for line, own in zip(_sets(result, axis), _sets(there, axis), strict=True):
        line[own] = _cluster_values(line[own], clusters)
    return result


def _sets(values: Any, axis: int | None) -> Any:
    """Return views of the parts of a kernel that share a set of clusters each."""
    return [values] if axis is None else np.moveaxis(values, axis, 0)


def _cluster_values(values: FloatArray, clusters: int) -> FloatArray:
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
