"""Impose a policy on weights without training: the proxy rung, and the exact end of the pruning stage."""

from collections.abc import Callable, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.kernel_patterns import KernelView, pruned, view_of
from paretune.objectives.weights import LayerWeights, compressed_variables
from paretune.spaces.patterns import UNSTRUCTURED
from paretune.spaces.policy import LayerPolicy, Policy

_LLOYD_ITERATIONS = 10

FloatArray = NDArray[np.float32]


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

    def impose(values: FloatArray, decided: LayerPolicy, view: KernelView | None) -> FloatArray:
        return _pruned(values, decided.sparsity, pattern, view)

    return _on_compressed(model, weights, policy, impose, _alive(start, narrowed))


def one_shot(
    model: Any,
    weights: LayerWeights,
    policy: Policy,
    pattern: str = UNSTRUCTURED,
    narrowed: Set[str] = frozenset(),
) -> LayerWeights:
    """Return the weights pruned by magnitude and clustered by 1-D k-means, as the policy asks, without training.

    Args:
        model: For its architecture.
        weights: Trained; zero for what belongs to removed channels.
        policy: What to impose.
        pattern: What zeros keep to.
        narrowed: Layers of which some weights belong to removed channels: sparsity and clusters are about the others,
            and zeros keep to no pattern.
    """

    def impose(values: FloatArray, decided: LayerPolicy, view: KernelView | None) -> FloatArray:
        zeroed = _pruned(values, decided.sparsity, pattern, view)
        return zeroed if decided.clusters is None else _cluster(zeroed, decided.clusters)

    return _on_compressed(model, weights, policy, impose, _alive(weights, narrowed))


#: Tells, for a variable of a layer, which of its weights there are to decide about; ``None`` for all.
_Alive = Callable[[str, int], NDArray[np.bool_] | None]


def _alive(start: LayerWeights, narrowed: Set[str]) -> _Alive:
    return lambda name, number: start[name][number] != 0 if name in narrowed else None


def _pruned(values: FloatArray, sparsity: float, pattern: str, view: KernelView | None) -> FloatArray:
    """Prune a kernel, or, without a view, weights that are no whole one."""
    if view is None:
        return pruned(values, sparsity, UNSTRUCTURED, KernelView(1, values.size, 1))
    return pruned(values, sparsity, pattern, view)


def _on_compressed(
    model: Any,
    weights: LayerWeights,
    policy: Policy,
    impose: Callable[[FloatArray, LayerPolicy, KernelView | None], FloatArray],
    alive: _Alive,
) -> LayerWeights:
    result = {name: list(arrays) for name, arrays in weights.items()}
    for name, decided in policy.items():
        layer = model.get_layer(name)
        for variable in compressed_variables(layer):
            index = next(i for i, candidate in enumerate(layer.weights) if candidate is variable)
            values, there = result[name][index], alive(name, index)
            if there is None:
                result[name][index] = impose(values, decided, view_of(type(layer).__name__, values.shape))
            else:
                result[name][index] = values.copy()
                result[name][index][there] = impose(values[there], decided, None)
    return result


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
