"""Which channels matter least."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.channels.groups import ChannelGroup, ModelChannels
from paretune.objectives.channels.removal import Ranking
from paretune.objectives.data.rows import Rows
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import LayerWeights

_SAMPLES = 512
_BINS = 32

#: Importance of each class of a group, by class.
_Scores = Mapping[int, float]


def rank_channels(
    criterion: str, model: Any, channels: ModelChannels, weights: LayerWeights, inputs: Sequence[Rows]
) -> Ranking:
    """Return the classes of every group in the order in which they are removed.

    Where layers share their channels, the scores of each layer count in units of that layer's mean.

    Args:
        criterion: ``l1``, the sum of the magnitudes of a filter's weights; or ``entropy``, that of what the channel's
            mean over each sample is, in so many bins over its range, at where it is read.
        model: With ``weights``; it is only read.
        channels: Of the model.
        weights: Trained weights.
        inputs: Training samples for each input.

    References:
        Li, Kadav, Durdanovic, Samet & Graf (2017), Pruning filters for efficient ConvNets, sec. 3.1.
        Luo & Wu (2017), An entropy-based pruning method for CNN compression, sec. 3.2.
    """
    by_class = _CRITERIA[criterion](model, channels, weights, inputs)
    return {group.name: _in_order(group, by_class) for group in channels.groups}


def _in_order(group: ChannelGroup, by_class: Mapping[int, float]) -> NDArray[np.int64]:
    classes = np.sort(group.orders[0])
    scores = np.array([by_class.get(label, 0.0) for label in classes.tolist()])
    return np.asarray(classes[np.argsort(scores, kind="stable")])


def _by_l1_norm(_: Any, channels: ModelChannels, weights: LayerWeights, __: Sequence[Rows]) -> _Scores:
    scores: dict[int, float] = {}
    for group in channels.groups:
        for name, order in zip(group.layers, group.orders, strict=True):
            # the slice that runs over what the layer makes, of the variable with the most axes: its kernel
            made = [each for each in channels.slices[name] if np.array_equal(each.labels, order)]
            kernel = max(made, key=lambda each: weights[name][each.variable].ndim)
            magnitudes = np.abs(np.moveaxis(weights[name][kernel.variable], kernel.axis, 0))
            _add(scores, order, magnitudes.reshape(len(order), -1).sum(axis=1))
    return scores


def _by_entropy(model: Any, channels: ModelChannels, _: LayerWeights, inputs: Sequence[Rows]) -> _Scores:
    read = [(tensor, labels) for tensor, labels in channels.read.values() if (labels >= 0).any()]
    scores: dict[int, float] = {}
    if not read:
        return scores
    watch = keras.Model(model.inputs, [tensor for tensor, _ in read])
    samples = [np.asarray(array[:_SAMPLES]) for array in inputs]
    found = watch.predict(samples if len(samples) > 1 else samples[0], verbose=0)
    for values, (_, labels) in zip(found if len(read) > 1 else [found], read, strict=True):
        pooled = np.asarray(values).reshape(len(values), -1, values.shape[-1]).mean(axis=1)
        classes = np.unique(labels[labels >= 0])
        means = np.stack([pooled[:, labels == label].mean(axis=1) for label in classes.tolist()], axis=1)
        _add(scores, classes, np.array([_entropy(column) for column in means.T]))
    return scores


def _entropy(values: NDArray[np.floating[Any]]) -> float:
    counts, _ = np.histogram(values, bins=_BINS)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _add(scores: dict[int, float], classes: NDArray[np.int64], values: NDArray[np.floating[Any]]) -> None:
    mean = float(values.mean()) or 1.0
    for label, value in zip(classes.tolist(), (values / mean).tolist(), strict=True):
        scores[label] = scores.get(label, 0.0) + value


_CRITERIA: Mapping[str, Callable[[Any, ModelChannels, LayerWeights, Sequence[Rows]], _Scores]] = {
    "l1": _by_l1_norm,
    "entropy": _by_entropy,
}
