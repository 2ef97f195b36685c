"""Follow every output channel of every layer to where it is read, as the graph of the model goes.

A channel can be removed if it passes only through layers that work on each channel alone (norms, activations, pooling,
depthwise convolutions) and is then read by a kernel, of which a slice goes with it. Additions join the channels of
layers: they go together or not at all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paretune.objectives.channels.labels import LabelClasses, Labels, joined
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.kernels.tfmot_support import activation_name

#: Layers that work on every channel alone, whatever they do to the other axes.
_ALONG = frozenset(
    {
        "Activation",
        "ActivityRegularization",
        "AlphaDropout",
        "AveragePooling1D",
        "AveragePooling2D",
        "BatchNormalization",
        "Cropping1D",
        "Cropping2D",
        "Dropout",
        "ELU",
        "GaussianDropout",
        "GaussianNoise",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "LeakyReLU",
        "MaxPooling1D",
        "MaxPooling2D",
        "PReLU",
        "ReLU",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "ThresholdedReLU",
        "UpSampling1D",
        "UpSampling2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
    }
)
_ACTIVATIONS_ALONG = frozenset(
    {
        "elu",
        "exponential",
        "gelu",
        "hard_sigmoid",
        "leaky_relu",
        "linear",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "softplus",
        "softsign",
        "swish",
        "tanh",
        "LeakyReLU",
        "ReLU",
    }
) | {""}
_JOINING = frozenset(
    {
        "Add",
        "Subtract",
        "Multiply",
        "Average",
        "Maximum",
        "Minimum",
    }
)
_OPERATIONS_ALONG = frozenset(
    {
        "nn.relu",
        "nn.relu6",
        "nn.silu",
        "nn.gelu",
        "math.sigmoid",
        "math.tanh",
        "math.abs",
    }
)
_OPERATIONS_JOINING = frozenset(
    {
        "__operators__.add",
        "math.add",
        "math.subtract",
        "math.multiply",
        "math.maximum",
        "math.minimum",
    }
)


@dataclass(frozen=True, slots=True)
class Slice:
    """How an axis of a variable depends on channels.

    Attributes:
        variable: Number of the variable in ``layer.weights``.
        axis: The axis.
        labels: The label of each position along it.
    """

    variable: int
    axis: int
    labels: Labels


@dataclass(slots=True)
class ChannelFlow:
    """Where channels come from, and where they go.

    Attributes:
        classes: Which labels go together.
        made: Labels of the output channels of every layer with a kernel that makes channels.
        slices: What of a layer's variables depends on channels; layers without any are left out.
        read: Symbolic tensors that kernels read, with the labels along their last axis.
    """

    classes: LabelClasses = field(default_factory=LabelClasses)
    made: dict[str, Labels] = field(default_factory=dict)
    slices: dict[str, list[Slice]] = field(default_factory=dict)
    read: dict[str, tuple[Any, Labels]] = field(default_factory=dict)


def follow_channels(model: Any) -> ChannelFlow:
    """Follow the channels of a flat functional model; ``model`` is only read."""
    flow = ChannelFlow()
    known: dict[int, Labels] = {
        id(tensor): flow.classes.fixed(_width(tensor), "They are the inputs of the model.") for tensor in model.inputs
    }
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            outputs = tf.nest.flatten(node.outputs)
            step = _Step(flow, node.layer, tf.nest.flatten(node.keras_inputs), outputs)
            labels = step.through([known[id(tensor)] for tensor in step.inputs])
            known.update((id(tensor), own) for tensor, own in zip(outputs, labels, strict=True))
    for tensor in model.outputs:
        flow.classes.fix(known[id(tensor)], "They are outputs of the model.")
    return flow


@dataclass(frozen=True, slots=True)
class _Step:
    """One call of one layer."""

    flow: ChannelFlow
    layer: Any
    inputs: list[Any]
    outputs: list[Any]

    def through(self, labels: list[Labels]) -> list[Labels]:
        """Return the labels of the outputs, given those of the inputs."""
        kind = type(self.layer).__name__
        passed = None
        mixes = activation_name(self.layer) not in _ACTIVATIONS_ALONG
        if len(self.outputs) == 1 and self._is_plain and self._same_batch:
            if kind in _KERNELS and len(labels) == 1:
                passed = _KERNELS[kind](self, labels[0])
                if mixes:
                    reason = f"The activation {activation_name(self.layer)} must have all of them."
                    self.flow.classes.fix(passed, reason)
            elif mixes:
                pass
            elif kind in _ALONG or self._operation in _OPERATIONS_ALONG:
                passed = self._along(labels[0])
            elif kind in _JOINING or (self._operation in _OPERATIONS_JOINING and len(labels) == 2):
                passed = self._join(labels)
            elif kind == "Concatenate":
                passed = self._concatenate(labels)
            elif kind in ("Flatten", "Reshape"):
                passed = self._reshape(labels[0])
        if passed is not None and len(passed) == _width(self.outputs[0]):
            return [passed]
        return self._stop(labels)

    @property
    def _is_plain(self) -> bool:
        layer = self.layer
        is_last = getattr(layer, "data_format", "channels_last") == "channels_last"
        axis = getattr(layer, "axis", -1)
        axes = tf.nest.flatten(axis) if isinstance(layer, keras.layers.BatchNormalization) else [-1]
        rank = len(self.inputs[0].shape)
        return (
            len(layer.inbound_nodes) <= 1
            and is_last
            and all(each in (-1, rank - 1) for each in axes)
            and getattr(layer, "groups", 1) == 1
            and not (type(layer).__name__ == "PReLU" and rank - 1 in (layer.shared_axes or ()))
        )

    @property
    def _same_batch(self) -> bool:
        return all(len(tensor.shape) >= 2 for tensor in (*self.inputs, *self.outputs))

    @property
    def _operation(self) -> str:
        return str(getattr(self.layer, "symbol", ""))

    def _stop(self, labels: list[Labels]) -> list[Labels]:
        reason = f"They reach '{self.layer.name}' ({type(self.layer).__name__}), which must have all of them."
        if len(self.layer.inbound_nodes) > 1:
            reason = f"They reach '{self.layer.name}', which is used {len(self.layer.inbound_nodes)} times."
        for own in labels:
            self.flow.classes.fix(own, reason)
        made = f"'{self.layer.name}' ({type(self.layer).__name__}) makes them together."
        return [self.flow.classes.fixed(_width(tensor), made) for tensor in self.outputs]

    def _along(self, labels: Labels) -> Labels:
        for number, variable in enumerate(self.layer.weights):
            if tuple(variable.shape)[-1:] == labels.shape:
                self.note(number, len(variable.shape) - 1, labels)
        return labels

    def _join(self, labels: list[Labels]) -> Labels | None:
        if any(len(other) != len(labels[0]) for other in labels):
            return None
        for other in labels[1:]:
            self.flow.classes.unite(labels[0], other)
        return labels[0]

    def _concatenate(self, labels: list[Labels]) -> Labels | None:
        if self.layer.axis in (-1, len(self.inputs[0].shape) - 1):
            return joined(labels)
        return self._join(labels)

    def _reshape(self, labels: Labels) -> Labels | None:
        """Flattening repeats the channels position after position; so does any shape that keeps the last axis."""
        width = _width(self.outputs[0])
        before, after = self.inputs[0].shape[1:], self.outputs[0].shape[1:]
        if width == len(labels):
            return labels
        return np.tile(labels, width // len(labels)) if len(after) == 1 and None not in tuple(before) else None

    def note(self, variable: int, axis: int, labels: Labels) -> None:
        self.flow.slices.setdefault(self.layer.name, []).append(Slice(variable, axis, labels))

    def _number(self, variable: Any) -> int:
        return next(number for number, own in enumerate(self.layer.weights) if own is variable)

    def make(self, kernel: Any, read: Labels, *, axes: tuple[int, int]) -> Labels:
        """Read channels along one axis of a kernel and make new ones along the other."""
        made = self.flow.classes.fresh(kernel.shape[axes[1]])
        self._read(kernel, read, axes[0])
        self.note(self._number(kernel), axes[1], made)
        self._bias(made)
        self.flow.made[self.layer.name] = made
        return made

    def _read(self, kernel: Any, labels: Labels, axis: int) -> None:
        self.note(self._number(kernel), axis, labels)
        self.flow.read[self.layer.name] = self.inputs[0], labels

    def _bias(self, labels: Labels) -> None:
        if self.layer.use_bias:
            self.note(self._number(self.layer.bias), 0, labels)

    def dense(self, labels: Labels) -> Labels:
        """A matrix from the last axis to a new one."""
        return self.make(self.layer.kernel, labels, axes=(0, 1))

    def convolution(self, labels: Labels) -> Labels:
        """Kernels over places, with input channels before output channels."""
        rank = len(self.layer.kernel.shape)
        return self.make(self.layer.kernel, labels, axes=(rank - 2, rank - 1))

    def transposed(self, labels: Labels) -> Labels:
        """Kernels over places, with output channels before input channels."""
        rank = len(self.layer.kernel.shape)
        return self.make(self.layer.kernel, labels, axes=(rank - 1, rank - 2))

    def depthwise(self, labels: Labels) -> Labels:
        """Some kernels for each channel, whose results come one after the other."""
        kernel = self.layer.depthwise_kernel
        self._read(kernel, labels, 2)
        passed = np.repeat(labels, kernel.shape[3])
        self._bias(passed)
        return passed

    def separable(self, labels: Labels) -> Labels:
        """A depthwise convolution and a pointwise one."""
        kernel = self.layer.depthwise_kernel
        rank = len(kernel.shape)
        self.note(self._number(kernel), rank - 2, labels)
        between = np.repeat(labels, kernel.shape[rank - 1])
        made = self.make(self.layer.pointwise_kernel, between, axes=(rank - 2, rank - 1))
        self.flow.read[self.layer.name] = self.inputs[0], labels
        return made


_KERNELS: Mapping[str, Callable[[_Step, Labels], Labels]] = {
    "Dense": _Step.dense,
    "Conv1D": _Step.convolution,
    "Conv2D": _Step.convolution,
    "Conv2DTranspose": _Step.transposed,
    "DepthwiseConv2D": _Step.depthwise,
    "SeparableConv2D": _Step.separable,
}


def slices_of(flow: ChannelFlow) -> Iterator[tuple[str, Slice]]:
    """Yield every slice with the name of its layer."""
    for name, own in flow.slices.items():
        for each in own:
            yield name, each


def _width(tensor: Any) -> int:
    """Return the length of the last axis; 1 where it may be any."""
    return int(tensor.shape[-1] or 1) if len(tensor.shape) else 1
