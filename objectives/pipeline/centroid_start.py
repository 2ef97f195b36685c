"""Where the centroids of a clustered layer start."""

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.kernels.cluster_lines import lines_of
from paretune.objectives.pipeline.stages import StageTask
from paretune.spaces.candidates.stage_recipes import ClusterRecipe

#: Where places lie that have no centroid: no weight is ever nearest to them.
NOWHERE = 1e9
#: Points at which tfmot looks up the cumulative distribution of the weights, and how far beyond them it begins.
_DENSITY_POINTS, _DENSITY_GAP = 30, 0.01

FloatArray = NDArray[np.float32]
#: Takes weights of one sign, or all, and how many centroids are wanted, at least 1; returns as many.
_Start = Callable[[FloatArray, int], FloatArray]


def initial_centroids(
    weights: FloatArray, task: StageTask, layer: str, variable: int, axis: int | None, *, zero_stays: bool
) -> FloatArray:
    """Return where the clusters of a kernel start.

    Where zero stays, one centroid is zero, and the others are shared out among negative and positive weights, as in
    tfmot; elsewhere, the zeros of a layer that lost channels are no weights. ``linear`` and ``density`` are what tfmot
    computes, to the last bit; its k-means++ draws unseeded numbers and fails where one sign has fewer weights than
    centroids, its ``random`` is unseeded too.

    Args:
        weights: The kernel.
        task: Names the number of clusters, the initialisation and the seed.
        layer: Name of the layer.
        variable: Number of the kernel in it: no two kernels draw the same numbers.
        axis: Along which every channel has clusters of its own; ``None`` for one set.
        zero_stays: Whether one of the centroids is zero.

    Returns:
        Shape (clusters,), or (channels, clusters) with an axis. Where there are only zeros, that is one centroid, or
        none where they are no weights; the other places are :data:`NOWHERE`.
    """
    clusters, recipe = task.policy[layer].clusters, task.recipe
    if clusters is None or not isinstance(recipe, ClusterRecipe):
        raise TypeError(f"a cluster stage needs clusters and a ClusterRecipe, got {clusters} and {recipe!r}")
    generator = np.random.default_rng([task.seed, zlib.crc32(f"{layer}/{variable}".encode())])
    starts: dict[str, _Start] = {
        "linear": _evenly,
        "kmeans++": lambda values, count: _careful_seeds(values, count, generator),
        "density": lambda values, count: _by_density(values, count, keeps_zeros=zero_stays),
        "random": lambda values, count: generator.uniform(values.min(), values.max(), count).astype(np.float32),
    }
    start = starts[recipe.initialisation]
    lines = lines_of(weights, axis)
    found = np.full((len(lines), clusters), NOWHERE, np.float32)
    for line, own in zip(lines, found, strict=True):
        values = line[line != 0] if layer in task.narrowed else line
        if zero_stays:
            centroids = _beside_zero(values, clusters, start)
            own[: centroids.size] = centroids
        elif values.size:
            own[:] = start(values, clusters)
    return found[0] if axis is None else found


def present_centroids(weights: FloatArray, axis: int | None, *, with_zero: bool = True) -> FloatArray:
    """Return the values that a clustered kernel has, shaped as :func:`initial_centroids` does.

    They come in order of appearance, as tfmot finds them: it decides which of two equally near ones is taken.

    Args:
        weights: The kernel.
        axis: Along which every channel has clusters of its own; ``None`` for one set.
        with_zero: Whether zero, where weights are zero, is one of the values.
    """
    present = []
    for line in lines_of(weights, axis):
        values = line if with_zero else line[line != 0]
        _, first = np.unique(values, return_index=True)
        present.append(values[np.sort(first)])
    found = np.full((len(present), max(values.size for values in present)), NOWHERE, np.float32)
    for values, own in zip(present, found, strict=True):
        own[: values.size] = values
    return found[0] if axis is None else found


def _beside_zero(values: FloatArray, clusters: int, start: _Start) -> FloatArray:
    """Return zero and, on both sides of it, as many centroids as the share of the weights there asks for."""
    sides = values[values < 0], values[values > 0]
    zero = np.zeros(1, np.float32)
    if not any(side.size for side in sides):
        return zero
    negative = int(np.round((clusters - 1) * (sides[0].size / (sides[0].size + sides[1].size))))
    below, above = (
        start(side, count) if count else np.zeros(0, np.float32)
        for side, count in zip(sides, (negative, clusters - 1 - negative), strict=True)
    )
    return np.concatenate([below, zero, above])


def _evenly(values: FloatArray, count: int) -> FloatArray:
    """Return centroids at equal distances from the least to the greatest weight.

    Deterministic, and best after fine-tuning in Han et al. (2016), Deep Compression, sec. 3.2.
    """
    return _linspace(values.min(), values.max(), count)


def _linspace(low: np.float32, high: np.float32, count: int) -> FloatArray:
    """Return what ``tf.linspace`` does, which NumPy rounds otherwise."""
    step = (high - low) / np.float32(max(count - 1, 1))
    between = low + step * np.arange(1, max(count - 1, 1), dtype=np.float32)
    return np.concatenate([[low], between, [high]])[:count].astype(np.float32)


def _careful_seeds(values: FloatArray, count: int, generator: np.random.Generator) -> FloatArray:
    """Draw weights for centroids, each with a probability that grows with the squared distance to those before.

    Where there are fewer different weights than centroids, all of them are taken, the last one more than once.

    References:
        Arthur & Vassilvitskii (2007), k-means++: The Advantages of Careful Seeding, sec. 2.2.
    """
    points = values.astype(np.float64)
    found = [points[generator.integers(points.size)]]
    distances = np.square(points - found[0])
    while len(found) < count and distances.any():
        edges = np.cumsum(distances)
        found.append(points[np.searchsorted(edges, generator.random() * edges[-1], side="right")])
        distances = np.minimum(distances, np.square(points - found[-1]))
    return np.array(found + found[-1:] * (count - len(found)), np.float32)


def _by_density(values: FloatArray, count: int, *, keeps_zeros: bool) -> FloatArray:
    """Return centroids between which equal shares of the weights lie, on the grid on which tfmot looks for them."""
    low, high = values.min(), values.max()
    gap = np.float32(_DENSITY_GAP)
    if keeps_zeros:
        gap = min(gap, min(abs(low), abs(high)) / np.float32(2))
    grid = _linspace(low - gap, high + gap, _DENSITY_POINTS)
    reached = np.searchsorted(np.sort(values), grid, side="right").astype(np.float32) / np.float32(values.size)
    shares = _linspace(np.float32(0.01), np.float32(1), count)
    at = np.minimum(np.searchsorted(reached, shares, side="right"), _DENSITY_POINTS - 1)
    before = np.maximum(at - 1, 0)
    # tfmot solves the line through two points for one of these points, which rounding alone moves
    run = np.maximum(grid[before] - grid[at], np.float32(0.001))
    slope = (reached[before] - reached[at]) / run
    flat = reached[before] == reached[at]
    moved = (reached[at] - (reached[at] - grid[at] * slope)) / np.where(flat, np.float32(1), slope)
    return np.where(flat, grid[at], moved).astype(np.float32)
