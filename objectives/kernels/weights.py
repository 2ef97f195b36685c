"""The weights of a model by layer, and which of them a policy acts on."""

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.kernels.einsum import projections, read_axes

#: Weights of every layer that has any: arrays in the layer's own order, by layer name.
LayerWeights = Mapping[str, list[NDArray[np.float32]]]

_RECURRENT_KINDS = ("LSTM", "GRU", "SimpleRNN")


def _both_ways(layer: Any) -> list[Any]:
    directions = (layer.forward_layer, layer.backward_layer)
    if any(type(each).__name__ not in _RECURRENT_KINDS for each in directions):
        return []
    return [variable for each in directions for variable in _recurrent(each)]


def _recurrent(layer: Any) -> list[Any]:
    return [layer.cell.kernel, layer.cell.recurrent_kernel]


def _einsum(layer: Any) -> list[Any]:
    return [] if read_axes(layer.equation) is None else [layer.kernel]


def _attention(layer: Any) -> list[Any]:
    return [each.kernel for each in projections(layer)]


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
    **dict.fromkeys(_RECURRENT_KINDS, _recurrent),
    "Bidirectional": _both_ways,
    "EinsumDense": _einsum,
    "MultiHeadAttention": _attention,
}

COMPRESSIBLE_KINDS = tuple(_COMPRESSED)


def compressed_variables(layer: Any) -> list[Any]:
    """Return the variables of a tf_keras layer that sparsity and clusters act on; empty for other kinds of layers."""
    kind = type(layer).__name__
    return _COMPRESSED[kind](layer) if kind in _COMPRESSED else []


def read_weights(model: Any) -> dict[str, list[NDArray[np.float32]]]:
    """Return the weights of an unwrapped model, by layer name."""
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def write_weights(model: Any, weights: LayerWeights) -> None:
    """Set the weights of an unwrapped model.

    Raises:
        ValueError: If a layer is missing or a shape differs.
    """
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(weights[layer.name])


def pack_weights(weights: LayerWeights) -> bytes:
    """Return weights as the contents of an ``.npz`` file, its arrays named ``LAYER/INDEX``.

    Deflated as fast as possible: zeros and repeated values shrink all the same.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for layer, arrays in weights.items():
            for index, array in enumerate(arrays):
                member = io.BytesIO()
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
                archive.writestr(f"{layer}/{index}.npy", member.getvalue())
    return packed.getvalue()


def unpack_weights(packed: bytes) -> LayerWeights:
    """Return what :func:`pack_weights` packed, in the same order."""
    weights: dict[str, list[NDArray[np.float32]]] = {}
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        for name in arrays.files:
            weights.setdefault(name.rpartition("/")[0], []).append(arrays[name])
    return weights
