"""Keep the states of recurrent layers in a converted file apart from all else.

The converter merges equal constants, and takes the zeros that an LSTM starts from for one, although the fused operator
writes its state over them. What else starts from zeros of that shape, such as a GRU behind the LSTM, would then start
from the state that the LSTM ended in.
"""

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from paretune.objectives.flatbuffer.graph import read_graph

#: Operators that write their state over variables that they read, by number.
_RECURRENT = {
    getattr(schema.BuiltinOperator, name): name
    for name in ("UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN", "SVDF")
}


def with_own_states(file: bytes) -> bytes:
    """Return the file with states that recurrent operators alone read; one in which that is so comes back as it is.

    Whatever else read a state reads zeros. Recurrent operators never share one: the converter gives each its own.
    """
    if not _has_shared_states(file):
        return file
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(file))
    for subgraph in model.subgraphs:
        zeros: dict[int, int] = {}
        for operator in subgraph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            if max(code.builtinCode, code.deprecatedBuiltinCode) in _RECURRENT:
                continue
            inputs = [int(number) for number in operator.inputs]
            for number in inputs:
                if number >= 0 and subgraph.tensors[number].isVariable and number not in zeros:
                    zeros[number] = _add_zeros(model, subgraph, number)
            operator.inputs = [zeros.get(number, number) for number in inputs]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _has_shared_states(file: bytes) -> bool:
    graph = read_graph(file)
    readers = [
        (graph.tensors[operator.subgraph][number], operator.kind)
        for operator in graph.operators
        for number in operator.inputs
        if number >= 0
    ]
    return any(tensor.is_variable and kind not in _RECURRENT.values() for tensor, kind in readers)


def _add_zeros(model: Any, subgraph: Any, number: int) -> int:
    """Add a constant like a state, of its name: names are made unique afterwards."""
    buffer = schema.BufferT()
    buffer.data = np.zeros(int(np.prod(subgraph.tensors[number].shape)), np.float32).view(np.uint8)
    model.buffers.append(buffer)
    tensor = copy.copy(subgraph.tensors[number])
    tensor.isVariable = False
    tensor.buffer = len(model.buffers) - 1
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1
