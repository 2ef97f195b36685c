"""Read the kernels of a .tflite with LiteRT's own schema alone: nothing here knows how Paretune reads a file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_TYPES = schema.TensorType
_KERNELS = {schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED}
_NUMPY: dict[int, np.dtype[Any]] = {
    _TYPES.FLOAT32: np.dtype("<f4"),
    _TYPES.FLOAT16: np.dtype("<f2"),
    _TYPES.INT8: np.dtype("i1"),
}


@dataclass(frozen=True, slots=True)
class PlainKernel:
    """A kernel as it lies in the file.

    Attributes:
        stored: What is stored, output channels first: integers less their zero point, or floats.
        real: The same as the numbers that are computed with.
        weights_as: Type of the weights, such as ``INT4``.
        activations_as: Type of what comes into the operator, such as ``FLOAT32``.
        scales: Number of scales; 0 for floats.
        block: Weights that share a scale, where scales are by block; 0 elsewhere.
    """

    stored: NDArray[Any]
    real: NDArray[np.float64]
    weights_as: str
    activations_as: str
    scales: int
    block: int = 0

    @property
    def format(self) -> str:
        """The number format, in the words of a policy (``int8`` for both static kinds, which a file cannot tell)."""
        if self.block:
            assert (self.weights_as, self.activations_as, self.block) == ("INT4", "FLOAT32", 32)
            return "int4_block"
        return _FORMATS.get((self.weights_as, self.activations_as), f"{self.weights_as} x {self.activations_as}")


_FORMATS = {
    ("FLOAT32", "FLOAT32"): "float32",
    ("FLOAT16", "FLOAT32"): "float16",
    ("INT8", "FLOAT32"): "dynamic_int8",
    ("INT8", "INT8"): "int8",
    ("INT8", "INT16"): "int16x8",
    ("INT4", "FLOAT32"): "int4",
}


def plain_kernels(contents: bytes) -> list[PlainKernel]:
    """Return the kernel of every convolution and dense layer, in the order of the file."""
    model = schema.ModelT.InitFromPackedBuf(contents, 0)
    (graph,) = model.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    dequantized_from = {
        operator.outputs[0]: operator.inputs[0]
        for operator in graph.operators
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.DEQUANTIZE
    }
    found = []
    for operator in graph.operators:
        if codes[operator.opcodeIndex] in _KERNELS:
            given, kernel = operator.inputs[0], operator.inputs[1]
            # floats of 16 bits, and integers that are computed with as floats, pass a DEQUANTIZE on the way
            found.append(_kernel(model, graph, dequantized_from.get(kernel, kernel), graph.tensors[given]))
    return found


def _kernel(model: Any, graph: Any, number: int, given: Any) -> PlainKernel:
    tensor = graph.tensors[number]
    shape = tuple(int(size) for size in tensor.shape)
    raw = np.asarray(model.buffers[tensor.buffer].data, dtype=np.uint8)
    if tensor.type == _TYPES.INT4:
        nibbles = np.stack([raw & 0xF, raw >> 4], axis=-1).reshape(-1)[: int(np.prod(shape))].astype(np.int8)
        values = np.where(nibbles > 7, nibbles - 16, nibbles).reshape(shape)
    else:
        values = np.frombuffer(raw.tobytes(), _NUMPY[tensor.type]).reshape(shape)
    scales = np.zeros(0)
    real = values.astype(np.float64)
    if isinstance(tensor.quantization.details, schema.BlockwiseQuantizationT):
        block = tensor.quantization.details.blockSize
        held = graph.tensors[tensor.quantization.details.scales]
        assert held.type == _TYPES.FLOAT16
        scales = np.frombuffer(bytes(model.buffers[held.buffer].data), "<f2").astype(np.float64)
        real = (values.reshape(-1, block) * scales.reshape(-1, 1)).reshape(shape)
        return PlainKernel(values, real, _name(tensor.type), _name(given.type), len(scales), block)
    if values.dtype.kind == "i":
        assert tensor.quantization.quantizedDimension == 0
        scales = np.asarray(tensor.quantization.scale, dtype=np.float64)
        along = (-1, *[1] * (len(shape) - 1))
        values = values.astype(np.int64) - np.asarray(tensor.quantization.zeroPoint).reshape(along)
        real = values * scales.reshape(along)
    return PlainKernel(values, real, _name(tensor.type), _name(given.type), len(scales))


def _name(type_: int) -> str:
    return str(next(name for name, value in vars(_TYPES).items() if value == type_ and name.isupper()))
