"""Count the multiply-accumulate operations of a Keras layer."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from paretune.objectives.kernels.einsum import projections, read_axes

_Shape = tuple[int | None, ...]


def count_macs(layer: Any) -> int:
    """Return the multiply-accumulate operations of a built layer for one sample, over all its uses.

    Returns:
        The count; 0 for kinds of layers that are not counted, and where an axis may have any length.
    """
    count = _COUNTS.get(type(layer).__name__)
    if count is None:
        return 0
    uses = range(len(layer.inbound_nodes))
    return sum(count(layer, layer.get_input_shape_at(use), layer.get_output_shape_at(use)) for use in uses)


def _dense(layer: Any, _: _Shape, output: _Shape) -> int:
    return _product(output[1:-1]) * _size(layer.kernel)


def _convolution(layer: Any, _: _Shape, output: _Shape) -> int:
    return _positions(layer, output) * _size(layer.kernel)


def _depthwise(layer: Any, _: _Shape, output: _Shape) -> int:
    return _positions(layer, output) * _size(layer.depthwise_kernel)


def _separable(layer: Any, _: _Shape, output: _Shape) -> int:
    return _positions(layer, output) * (_size(layer.depthwise_kernel) + _size(layer.pointwise_kernel))


def _transposed(layer: Any, given: _Shape, _: _Shape) -> int:
    return _positions(layer, given) * _size(layer.kernel)


def _recurrent(layer: Any, given: _Shape | list[_Shape], _: _Shape) -> int:
    sequence = given[0] if isinstance(given, list) else given  # the shapes of states that it begins with come after
    return _product(sequence[1:2]) * (_size(layer.cell.kernel) + _size(layer.cell.recurrent_kernel))


def _both_ways(layer: Any, given: _Shape | list[_Shape], output: _Shape) -> int:
    return sum(_recurrent(each, given, output) for each in (layer.forward_layer, layer.backward_layer))


def _einsum(layer: Any, _: _Shape, output: _Shape) -> int:
    read = read_axes(layer.equation)
    return 0 if read is None else _product(output[1:]) * math.prod(layer.kernel.shape[:read])


def _attention(layer: Any, _: Any, __: Any) -> int:
    """Return the operations of the four projections, of the scores, and of the sums that these weigh."""
    query, key, value = (tuple(shape) for shape in (layer._query_shape, layer._key_shape, layer._value_shape))
    places = [_product(shape[1:-1]) for shape in (query, key, value, query)]
    projected = sum(place * _size(each.kernel) for place, each in zip(places, projections(layer), strict=True))
    attended = _product(tuple(key[axis] for axis in layer._attention_axes))
    return projected + places[0] * attended * int(layer._num_heads * (layer._key_dim + layer._value_dim))


_COUNTS: Mapping[str, Callable[[Any, Any, _Shape], int]] = {
    "Dense": _dense,
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "Conv2DTranspose": _transposed,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "SimpleRNN": _recurrent,
    "Bidirectional": _both_ways,
    "EinsumDense": _einsum,
    "MultiHeadAttention": _attention,
}


def _positions(layer: Any, shape: _Shape) -> int:
    """Return at how many places of an image or sequence the kernel is applied."""
    return _product(shape[2:] if layer.data_format == "channels_first" else shape[1:-1])


def _product(sizes: _Shape) -> int:
    return math.prod(size or 0 for size in sizes)


def _size(variable: Any) -> int:
    return math.prod(variable.shape)
