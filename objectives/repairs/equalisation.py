"""Cross-layer equalisation: neighbouring layers are rescaled so that their weights span like ranges.

What a channel is divided by in one layer, the next one multiplies it with again: the model computes the same. Integers
have one scale for all channels of an activation, and one for all inputs of a kernel, in which a channel much smaller
than the others is lost.

References:
    Nagel, van Baalen, Blankevoort and Welling (2019), Data-free quantization through weight equalization and bias
    correction, sec. 4.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.signature import consumers
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import LayerWeights
from paretune.spaces.policies.policy import Policy, Quantization

_Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class _Kernel:
    """A kernel: its number in the weights of its layer, and the axes that run over the channels, together in order."""

    number: int
    axes: tuple[int, ...]

    def ranges(self, weights: Sequence[_Array]) -> _Array:
        """Return the largest magnitude of every channel."""
        kernel = np.abs(weights[self.number])
        others = tuple(axis for axis in range(kernel.ndim) if axis not in self.axes)
        largest: _Array = kernel.max(axis=others).reshape(-1)
        return largest

    def along(self, factors: _Array, weights: Sequence[_Array]) -> _Array:
        """Return a factor for each channel in a shape that multiplies with the kernel."""
        shape = weights[self.number].shape
        return factors.reshape([size if axis in self.axes else 1 for axis, size in enumerate(shape)])


#: By Keras class: the variable that gives the output channels, and its axes; likewise what takes the input channels.
_GIVES = {
    "Conv1D": ("kernel", (2,)),
    "Conv2D": ("kernel", (3,)),
    "Conv2DTranspose": ("kernel", (2,)),
    "Dense": ("kernel", (1,)),
    "DepthwiseConv2D": ("depthwise_kernel", (2, 3)),
    "SeparableConv2D": ("pointwise_kernel", (3,)),
}
_TAKES = {
    "Conv1D": ("kernel", (1,)),
    "Conv2D": ("kernel", (2,)),
    "Conv2DTranspose": ("kernel", (3,)),
    "Dense": ("kernel", (0,)),
    "DepthwiseConv2D": ("depthwise_kernel", (2,)),
    "SeparableConv2D": ("depthwise_kernel", (2,)),
}
#: Layers that give ``s * y`` for ``s * x``, whatever s > 0 each channel has, and leave channels where they are.
_HOMOGENEOUS = """
    LeakyReLU PReLU Dropout SpatialDropout1D SpatialDropout2D GaussianDropout MaxPooling1D MaxPooling2D
    AveragePooling1D AveragePooling2D GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D
    GlobalMaxPooling2D ZeroPadding1D ZeroPadding2D Cropping1D Cropping2D UpSampling1D UpSampling2D Flatten
"""
#: Times the largest weight that a bias may be before it decides over the scale; ordinary ones stay below.
_MOST_BIAS = 32.0
_MOST_SWEEPS = 20
#: Scales that change by less end the sweeps.
_CLOSE_ENOUGH = 0.01
#: Scales stay within these; beyond them, float32 itself would lose digits in the sums.
_SMALLEST, _LARGEST = 2.0**-12, 2.0**12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Norm:
    """A BatchNormalization: numbers of its variables, ``None`` where it has none."""

    layer: str
    gamma: int | None
    beta: int | None
    mean: int
    variance: int
    epsilon: float

    def gain(self, weights: LayerWeights) -> _Array:
        """Return what it multiplies each channel by."""
        own = weights[self.layer]
        deviation = np.sqrt(own[self.variance] + self.epsilon)
        gain: _Array = 1 / deviation if self.gamma is None else own[self.gamma] / deviation
        return gain

    def shift(self, bias: Any, gain: _Array, weights: LayerWeights) -> Any:
        """Return what it makes of a bias before it."""
        own = weights[self.layer]
        return (bias - own[self.mean]) * gain + (0 if self.beta is None else own[self.beta])


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Two layers, the second of which alone reads the first, with nothing in between that would notice a scale.

    Attributes:
        first: Name of the layer that gives the channels.
        second: Name of the layer that takes them.
        gives: Kernel of the first.
        bias: Number of the first's bias; ``None`` where it has none.
        norm: The BatchNormalization right behind the first, if there is one.
        takes: Kernel of the second; behind a Flatten, its inputs run over the channels several times.
    """

    first: str
    second: str
    gives: _Kernel
    bias: int | None
    norm: _Norm | None
    takes: _Kernel

    def wanted(self, weights: LayerWeights) -> _Array:
        """Return what to divide each channel by: eq. 11 of the paper, 1 for channels without weights on one side.

        Weights count as no less than a share of their bias. Else a channel with hardly any weights would be magnified
        until its bias is all that the range of the activations holds.
        """
        given = self.gives.ranges(weights[self.first])
        shift: Any = 0.0 if self.bias is None else weights[self.first][self.bias]
        if self.norm is not None:
            gain = self.norm.gain(weights)
            given, shift = given * np.abs(gain), self.norm.shift(shift, gain, weights)
        given = np.where(given > 0, np.maximum(given, np.abs(shift) / _MOST_BIAS), 0)
        taken = self.takes.ranges(weights[self.second]).reshape(-1, given.size).max(axis=0)
        alive = (given > 0) & (taken > 0)
        scales: _Array = np.sqrt(np.where(alive, given, 1) / np.where(alive, taken, 1))
        return scales

    def apply(self, scales: _Array, weights: dict[str, list[Any]]) -> None:
        """Divide the channels that the first layer gives, and multiply them again in the second; changes ``weights``.

        A norm divides by its gamma and beta. One without gamma is given smaller inputs instead.
        """
        norm = self.norm
        if norm is None or norm.gamma is None:
            _divide(weights[self.first], self.gives.number, self.gives.along(scales, weights[self.first]))
            _divide(weights[self.first], self.bias, scales)
        if norm is not None:
            _divide(weights[norm.layer], norm.mean if norm.gamma is None else norm.gamma, scales)
            _divide(weights[norm.layer], norm.beta, scales)
        own = weights[self.second]
        inputs = np.prod([own[self.takes.number].shape[axis] for axis in self.takes.axes])
        again = np.tile(1 / scales, int(inputs) // scales.size)
        _divide(own, self.takes.number, self.takes.along(again, own))


def _divide(own: list[Any], number: int | None, by: _Array) -> None:
    if number is not None:
        own[number] = (own[number] / by).astype(np.float32)


def joints_of(model: Any) -> tuple[Joint, ...]:
    """Return the pairs of layers that can be equalised; a depthwise convolution between two others makes two of them.

    Between the two may stand the BatchNormalization of the first, then whatever is positively homogeneous: ReLU
    (without a bound), pooling, padding, ...

    Args:
        model: A flat functional model.
    """
    found = (_joint_behind(layer, model) for layer in model.layers if _is_used_once(layer))
    return tuple(joint for joint in found if joint is not None)


def equalised(joints: Sequence[Joint], weights: LayerWeights, policy: Policy) -> LayerWeights:
    """Return weights that compute the same, with like ranges on both sides of every joint that a policy has use for.

    That is where both layers are ``int8`` and not trained for it, and share no values in clusters. Zeros stay zero.

    Args:
        joints: What :func:`joints_of` gave for the model.
        weights: Of the model.
        policy: What is decided about every layer.
    """
    chosen = [joint for joint in joints if _is_plain_int8(joint.first, policy) and _is_plain_int8(joint.second, policy)]
    scales = [np.ones_like(joint.wanted(weights)) for joint in chosen]
    for _ in range(_MOST_SWEEPS):
        before, current = list(scales), _scaled(chosen, scales, weights)
        for number, joint in enumerate(chosen):
            more = joint.wanted(current)
            scales[number] = np.clip(scales[number] * more, _SMALLEST, _LARGEST)
            joint.apply(more, current)
        pairs = zip(scales, before, strict=True)
        if all(np.abs(np.log(new / old)).max() < _CLOSE_ENOUGH for new, old in pairs):
            break
    # once from the given weights, so that they are rounded once
    return _scaled(chosen, scales, weights)


def _scaled(joints: Sequence[Joint], scales: Sequence[_Array], weights: LayerWeights) -> dict[str, list[Any]]:
    copied = {name: list(arrays) for name, arrays in weights.items()}
    for joint, by in zip(joints, scales, strict=True):
        joint.apply(by, copied)
    return copied


def _is_plain_int8(layer: str, policy: Policy) -> bool:
    decided = policy.get(layer)
    return decided is not None and decided.quantization is Quantization.INT8 and decided.clusters is None


def _joint_behind(first: Any, model: Any) -> Joint | None:
    """Return the joint of a layer with the one that alone reads it, if it is one."""
    gives = _kernel(first, _GIVES)
    if gives is None or not _keeps_scales(first):
        return None
    layer, norm = first, None
    while layer.name not in model.output_names:
        readers = consumers(layer.output, model)
        if len(readers) != 1 or not _is_used_once(readers[0]):
            return None
        (reader,) = readers
        if layer is first and isinstance(reader, keras.layers.BatchNormalization):
            if _activation(first) != "linear":
                return None
            norm = _norm(reader)
        elif type(reader).__name__ in _TAKES:
            takes = _kernel(reader, _TAKES)
            bias = _number(first, "bias")
            if takes is None:
                return None
            return Joint(first=first.name, second=reader.name, gives=gives, bias=bias, norm=norm, takes=takes)
        elif not _is_homogeneous(reader):
            return None
        layer = reader
    return None


def _kernel(layer: Any, table: Mapping[str, tuple[str, tuple[int, ...]]]) -> _Kernel | None:
    kind = type(layer).__name__
    if kind not in table or getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    if table is _TAKES and getattr(layer, "groups", 1) > 1:  # each part of its kernel takes other channels
        return None
    name, axes = table[kind]
    number = _number(layer, name)
    return None if number is None else _Kernel(number, axes)


def _number(layer: Any, name: str) -> int | None:
    """Return the number of a variable in the weights of its layer; ``None`` where there is none of this name."""
    wanted = getattr(layer, name, None)
    return next((number for number, variable in enumerate(layer.weights) if variable is wanted), None)


def _norm(layer: Any) -> _Norm:
    mean, variance = _number(layer, "moving_mean"), _number(layer, "moving_variance")
    if mean is None or variance is None:
        raise ValueError(f"BatchNormalization '{layer.name}' must have moving statistics")
    return _Norm(
        layer=layer.name,
        gamma=_number(layer, "gamma"),
        beta=_number(layer, "beta"),
        mean=mean,
        variance=variance,
        epsilon=float(layer.epsilon),
    )


def _is_used_once(layer: Any) -> bool:
    return len(layer.inbound_nodes) == 1


def _activation(layer: Any) -> str:
    return str(getattr(getattr(layer, "activation", None), "__name__", ""))


def _keeps_scales(layer: Any) -> bool:
    return _activation(layer) in ("linear", "relu", "leaky_relu")


def _is_homogeneous(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Activation):
        return _keeps_scales(layer)
    if isinstance(layer, keras.layers.ReLU):
        return layer.max_value is None and not layer.threshold
    kind = type(layer).__name__
    return kind in _HOMOGENEOUS.split() and getattr(layer, "data_format", "channels_last") == "channels_last"
