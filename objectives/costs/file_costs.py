"""What a ``.tflite`` file costs to run, as far as its operators and shapes tell: deterministic, in milliseconds."""

import numpy as np

from paretune.objectives.costs.arena import arena_bytes
from paretune.objectives.costs.arithmetic import arithmetic_of
from paretune.objectives.costs.energy import energy_nj
from paretune.objectives.flatbuffer.graph import Graph, Tensor, read_graph


def file_costs(model: bytes) -> dict[str, float]:
    """Measure a file for a batch of one.

    Returns:
        * ``macs``: multiply-accumulate operations; see :func:`~paretune.objectives.costs.arithmetic.arithmetic_of`;
        * ``bit_operations``: the same times the bits of both factors, as they are multiplied: kernels in float16 are
          float32 by then, and activations beside integer kernels are 8-bit integers;
        * ``parameters``: elements of the weights; see :func:`count_parameters`;
        * ``arena_bytes``: peak memory for activations; see :func:`~paretune.objectives.costs.arena.arena_bytes`;
        * ``energy_nj``: an estimate; see :func:`~paretune.objectives.costs.energy.energy_nj`.
    """
    graph = read_graph(model)
    arithmetic = arithmetic_of(graph)
    return {
        "macs": float(sum(each.macs for each in arithmetic)),
        "bit_operations": float(sum(each.bit_operations for each in arithmetic)),
        "parameters": float(count_parameters(graph)),
        "arena_bytes": float(arena_bytes(graph)),
        "energy_nj": energy_nj(graph),
    }


def count_parameters(graph: Graph) -> int:
    """Return the elements of all constants that are weights: kernels, biases, tables, what is left of norms.

    Shapes, axes and paddings are no weights, nor are biases of nothing but zeros, which the converter adds to layers
    without one. What the file stores once counts once, however many layers use it.
    """
    weights = {tensor.buffer: tensor for tensor in graph.all_tensors() if tensor.is_constant and _is_weight(tensor)}
    return sum(tensor.elements for tensor in weights.values() if not _is_empty_bias(graph, tensor))


def _is_weight(tensor: Tensor) -> bool:
    return "FLOAT" in tensor.dtype or tensor.scales is not None


def _is_empty_bias(graph: Graph, tensor: Tensor) -> bool:
    return len(tensor.shape) == 1 and not np.any(graph.stored(tensor))
