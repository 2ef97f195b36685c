"""Which variables of a layer a policy acts on."""

from collections.abc import Callable, Mapping
from typing import Any

#: Keras class -> the variables that sparsity and clusters act on, in tfmot's order. SeparableConv2D's depthwise part,
#: biases and BatchNorm parameters stay as they are (too few bytes to matter, too much accuracy to lose).
_COMPRESSED: Mapping[str, Callable[[Any], list[Any]]] = {
    "Dense": lambda layer: [layer.kernel],
    "Conv1D": lambda layer: [layer.kernel],
    "Conv2D": lambda layer: [layer.kernel],
    "Conv2DTranspose": lambda layer: [layer.kernel],
    "DepthwiseConv2D": lambda layer: [layer.depthwise_kernel],
    "SeparableConv2D": lambda layer: [layer.pointwise_kernel],
    "Embedding": lambda layer: [layer.embeddings],
    "LSTM": lambda layer: [layer.cell.kernel, layer.cell.recurrent_kernel],
    "GRU": lambda layer: [layer.cell.kernel, layer.cell.recurrent_kernel],
    "SimpleRNN": lambda layer: [layer.cell.kernel, layer.cell.recurrent_kernel],
}

COMPRESSIBLE_KINDS = tuple(_COMPRESSED)


def compressed_variables(layer: Any) -> list[Any]:
    """Return the variables of a tf_keras layer that sparsity and clusters act on; empty for other kinds of layers."""
    kind = type(layer).__name__
    return _COMPRESSED[kind](layer) if kind in _COMPRESSED else []
