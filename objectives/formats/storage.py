"""Number formats for kernels that ai-edge-quantizer passes over: recurrent layers and embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from paretune.objectives.flatbuffer.places import KernelPlace
from paretune.objectives.formats.recipes import TOOL_OPERATORS
from paretune.spaces.policies.policy import Quantization


def store_kernels(file: bytes, wanted: Sequence[tuple[KernelPlace, Quantization]]) -> bytes:
    """Store kernels in half precision or as integers where the operator is none of ai-edge-quantizer's.

    ``float16`` works for any operator: the constant is stored as such, and a DEQUANTIZE in front of its users makes
    it float32 again, once, when the file is loaded. ``dynamic_int8`` is what LiteRT's fused LSTM takes as it is; all
    gates of a kernel get one symmetric scale, so that clusters stay few. Other wishes are left alone; whoever asks
    reads the result back.

    Args:
        file: Contents of a ``.tflite`` file.
        wanted: Kernels, also those that are none of this function's business, and their formats.
    """
    own = [(place, form) for place, form in wanted if _is_ours(place, form)]
    if not own:
        return file
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(file))
    scales = _shared_scales(model, own)
    for place, form in own:
        subgraph = model.subgraphs[place.subgraph]
        number = _number(subgraph, place)
        if form is Quantization.FLOAT16:
            _store_half(model, subgraph, number)
        else:
            _store_bytes(model, subgraph.tensors[number], scales[place.scopes, place.variable])
    _drop_unused_buffers(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _is_ours(place: KernelPlace, form: Quantization) -> bool:
    if form is Quantization.FLOAT16:
        return place.operator not in TOOL_OPERATORS
    return form is Quantization.DYNAMIC_INT8 and place.operator == "UNIDIRECTIONAL_SEQUENCE_LSTM"


def _store_half(model: Any, subgraph: Any, number: int) -> None:
    """Turn a float32 constant into a float16 one behind a DEQUANTIZE, which all its users then read."""
    half = subgraph.tensors[number]
    full = schema.TensorT()
    full.shape, full.type, full.buffer = half.shape, schema.TensorType.FLOAT32, 0
    full.name = half.name + b"_dequant"
    full.hasRank = half.hasRank
    with np.errstate(over="ignore"):
        half.buffer = _add_buffer(model, _values(model, half).astype(np.float16))
    half.type = schema.TensorType.FLOAT16
    subgraph.tensors.append(full)
    copy = len(subgraph.tensors) - 1
    for operator in subgraph.operators:
        operator.inputs = [copy if each == number else int(each) for each in operator.inputs]
    convert = schema.OperatorT()
    convert.opcodeIndex = _dequantize_code(model)
    convert.inputs, convert.outputs = [number], [copy]
    convert.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    convert.builtinOptions = schema.DequantizeOptionsT()
    subgraph.operators.insert(0, convert)


def _shared_scales(model: Any, own: Sequence[tuple[KernelPlace, Quantization]]) -> dict[Any, np.float32]:
    """Return one symmetric 8-bit scale for all constants that hold parts of one variable."""
    greatest: dict[Any, float] = {}
    for place, _ in own:
        subgraph = model.subgraphs[place.subgraph]
        values = _values(model, subgraph.tensors[_number(subgraph, place)])
        key = place.scopes, place.variable
        greatest[key] = max(greatest.get(key, 1e-9), float(np.abs(values).max(initial=0.0)))
    return {key: np.float32(value / 127) for key, value in greatest.items()}


def _number(subgraph: Any, place: KernelPlace) -> int:
    return next(index for index, tensor in enumerate(subgraph.tensors) if tensor.name.decode() == place.tensor)


def _values(model: Any, tensor: Any) -> np.ndarray:
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)


def _store_bytes(model: Any, tensor: Any, scale: np.float32) -> None:
    """Turn a float32 constant into 8-bit integers with one symmetric scale."""
    values = _values(model, tensor)
    tensor.type = schema.TensorType.INT8
    tensor.buffer = _add_buffer(model, np.clip(np.round(values / scale), -127, 127).astype(np.int8))
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([scale], np.float32)
    tensor.quantization.zeroPoint = np.array([0], np.int64)


def _add_buffer(model: Any, values: np.ndarray) -> int:
    """Add a constant; the old one's buffer may be shared, so it is not written over."""
    buffer = schema.BufferT()
    buffer.data = values.view(np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _drop_unused_buffers(model: Any) -> None:
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None


def _dequantize_code(model: Any) -> int:
    number = schema.BuiltinOperator.DEQUANTIZE
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = 3  # the first version that takes float16
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
