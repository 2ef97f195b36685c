"""Keep the bias of channels whose weights are (almost) all zero.

An integer bias is stored in units of input scale times weight scale. ai-edge-quantizer 0.10 gives a channel without
any non-zero weight the scale 1e-9 / 127, in which a bias of 0.5 does not fit 32 bits: the channel's output comes out as
zero. High sparsity makes such channels common, and a BatchNorm with a tiny gamma makes them nearly so. The scale of
such a channel says nothing, so a larger one is written into the file, and the bias (and weights) in units of it.
"""

from typing import Any

import numpy as np

from paretune.objectives.flatbuffer.graph import KERNEL_INPUTS, Graph, Operator, Tensor, read_graph

#: More units than this do not fit a bias, beside the sum over the inputs. The 64-bit biases of int16x8 take no more:
#: LiteRT 2.3 gave outputs a quarter off for a Dense layer whose biases were beyond it.
_MOST_UNITS = 2.0**30


def mend_lost_biases(float_file: bytes, quantized: bytes) -> bytes:
    """Return the quantized file with every bias worth what it is in the float file.

    Only channels whose bias does not fit are touched; a file without such channels is returned as it is.

    Args:
        float_file: What ``quantized`` was made from.
        quantized: As ai-edge-quantizer wrote it.
    """
    file = bytearray(quantized)
    graph = read_graph(file)
    original = read_graph(float_file).by_name()
    source = read_graph(float_file)
    for operator in graph.operators:
        parts = _integer_parts(graph, operator)
        if parts is None:
            continue
        activations, kernel, bias = parts
        if bias.name not in original or kernel.name not in original:
            continue
        wanted = source.values(original[bias.name]).reshape(-1)
        _mend(graph, activations.scales[0], kernel, bias, wanted, source.values(original[kernel.name]))
    return bytes(file)


def _mend(
    graph: Graph, input_scale: Any, kernel: Tensor, bias: Tensor, wanted: np.ndarray, weights: np.ndarray
) -> None:
    """Rewrite scales, bias and weights of the channels whose bias is lost, in place."""
    needed = np.abs(wanted) / (float(input_scale) * _MOST_UNITS)
    if len(kernel.scales) == 1:
        needed = needed.max(keepdims=True)
    lost = needed > kernel.scales
    if not lost.any():
        return
    ordinary = float(np.median(kernel.scales[~lost])) if not lost.all() else 0.0
    kernel.scales[lost] = np.maximum(ordinary, needed)[lost]
    units = np.float32(input_scale) * kernel.scales
    bias.scales[lost] = units[lost]
    stored = graph.stored(bias).reshape(-1)
    lost_biases = np.broadcast_to(lost, stored.shape)
    stored[lost_biases] = np.round(wanted / units)[lost_biases].astype(stored.dtype)
    along = [1] * weights.ndim
    along[kernel.channel_axis] = -1
    steps = np.clip(np.round(weights / kernel.scales.reshape(along)), -127, 127).astype(np.int8)
    lost_weights = np.broadcast_to(lost.reshape(along), weights.shape)
    graph.stored(kernel)[lost_weights] = steps[lost_weights]


def _integer_parts(graph: Graph, operator: Operator) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return activations, kernel and bias of an operator that computes in integers and has a bias."""
    places = KERNEL_INPUTS.get(operator.kind)
    if places is None or len(operator.inputs) <= places[2] or operator.inputs[places[2]] < 0:
        return None
    activations, kernel, bias = (graph.named(operator, operator.inputs[place]) for place in places)
    if kernel.dtype != "INT8" or bias.dtype not in ("INT32", "INT64") or not bias.is_constant:
        return None
    return activations, kernel, bias
