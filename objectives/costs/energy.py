"""What one run of a file costs in energy: an estimate from operation counts, not a measurement."""

from paretune.objectives.costs.arena import (
    UNMODIFIED,
    arena_bytes,
    is_constant_made_float,
    tensor_bytes,
)
from paretune.objectives.costs.arithmetic import Arithmetic, arithmetic_of, runs_of
from paretune.objectives.flatbuffer.graph import Graph

#: Picojoules of one operation at 45 nm and 0.9 V. Integers are added in 32 bits.
_MULTIPLY_FLOAT32, _ADD_FLOAT32, _MULTIPLY_INT8, _ADD_INT32 = 3.7, 0.9, 0.2, 0.1
#: Picojoules to read or write 64 bits, by the size of the memory in bytes; beyond them it is DRAM, at its lower figure.
_MEMORIES = ((8 * 2**10, 10.0), (32 * 2**10, 20.0), (2**20, 100.0))
_DRAM = 1300.0
_WORD_BYTES = 8


def energy_nj(graph: Graph) -> float:
    """Return the estimated energy of one run, in nanojoules.

    Multiplications and additions, plus memory: every weight is read once for each use, every activation written once
    and read once for each use, each kind from the smallest memory of the table that holds all of it (weights; the
    arena). Multiplying integers is taken to cost in proportion to the bits of both factors, which meets the figures of
    the table at 8 and 32 bits. Zeros cost what other weights do.

    It is a model of a chip of its time that does nothing else: good to compare files with each other, not to
    predict a battery. Caches, control, leakage and everything but matrix arithmetic are left out; these are most of
    what a general-purpose processor spends.

    References:
        Horowitz (2014), Computing's energy problem (and what we can do about it), ISSCC, fig. 1.1.9.
    """
    picojoules = sum(each.macs * _mac_picojoules(each) for each in arithmetic_of(graph))
    weights, activations = _traffic(graph)
    stored = {tensor.buffer: tensor.length for tensor in graph.all_tensors() if tensor.is_constant}
    picojoules += weights / _WORD_BYTES * _access_picojoules(sum(stored.values()))
    picojoules += activations / _WORD_BYTES * _access_picojoules(arena_bytes(graph))
    return picojoules / 1e3


def _mac_picojoules(each: Arithmetic) -> float:
    if each.is_float:
        return _MULTIPLY_FLOAT32 + _ADD_FLOAT32
    return _MULTIPLY_INT8 * each.weight_bits * each.activation_bits / 64 + _ADD_INT32


def _access_picojoules(size: int) -> float:
    return next((cost for most, cost in _MEMORIES if size <= most), _DRAM)


def _traffic(graph: Graph) -> tuple[int, int]:
    """Return the bytes of weights and of activations that one run moves."""
    weights = activations = 0
    made_float = {
        (operator.subgraph, operator.outputs[0])
        for operator in graph.operators
        if is_constant_made_float(operator, graph.tensors[operator.subgraph])
    }
    for operator, times in runs_of(graph):
        if operator.kind in UNMODIFIED or is_constant_made_float(operator, graph.tensors[operator.subgraph]):
            continue
        for number in (*operator.inputs, *operator.outputs):
            if number < 0:
                continue
            tensor = graph.named(operator, number)
            if tensor.is_constant:
                weights += times * tensor.length
            elif (operator.subgraph, number) in made_float:
                weights += times * tensor_bytes(tensor)
            else:
                activations += times * tensor_bytes(tensor)
    return weights, activations
