"""A ``.tflite`` file as plain values: its operators, its tensors, and views of its constants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

#: TFLite's element types by their number in the schema.
_TYPE_NAMES = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
_OPERATOR_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
#: Where the options of operators that run subgraphs name these, and what the options are called.
_CALLED_SUBGRAPHS = {
    "WHILE": ("CondSubgraphIndex", "BodySubgraphIndex"),
    "IF": ("ThenSubgraphIndex", "ElseSubgraphIndex"),
    "CALL": ("Subgraph",),
}
_OPTIONS = {"WHILE": "While", "IF": "If", "CALL": "Call"}
_NUMPY_NAMES = {"INT4": "uint8", "UINT4": "uint8", "INT2": "uint8", "STRING": "uint8", "BFLOAT16": "uint16"}
#: Which inputs of an operator with a kernel carry activations, kernel and bias.
KERNEL_INPUTS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor of one subgraph.

    Attributes:
        name: Its name; unique in files that :mod:`paretune.objectives.templates.conversion` wrote.
        subgraph: Number of the subgraph it belongs to.
        shape: Its shape as stored.
        dtype: Element type in the schema's words, such as ``FLOAT32`` or ``INT4``.
        buffer: Number of the buffer that holds its constant; buffers can be shared.
        offset: Byte position of that constant in the file; -1 when the tensor is computed.
        length: Bytes of the constant.
        scales: One scale, one per channel, or none when it is not quantized. A view of the file.
        zero_points: Likewise.
        channel_axis: Axis that ``scales`` runs along.
        is_variable: Whether it keeps its value from one run to the next: the state of a recurrent layer.
        block_size: Elements of the last axis that share a scale; 0 where scales are not by block.
        block_scales: Number of the tensor of the subgraph that holds these scales; -1 where there is none.
    """

    name: str
    subgraph: int
    shape: tuple[int, ...]
    dtype: str
    buffer: int
    offset: int
    length: int
    scales: Any
    zero_points: Any
    channel_axis: int
    is_variable: bool = False
    block_size: int = 0
    block_scales: int = -1

    @property
    def is_constant(self) -> bool:
        """Whether the file holds its values."""
        return self.offset >= 0

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator: ``inputs`` and ``outputs`` number the tensors of its subgraph, -1 where one is left out.

    Attributes:
        kind: In the schema's words, such as ``CONV_2D``.
        subgraph: Number of the subgraph it is in.
        inputs: What it takes.
        outputs: What it gives.
        calls: Numbers of the subgraphs it runs, in the order of the schema: a loop's condition, then its body.
    """

    kind: str
    subgraph: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """What a file contains. Constants are views of the bytes it was read from, writable if those are.

    Attributes:
        file: The bytes.
        tensors: Tensors by subgraph, in the file's order.
        operators: Operators of all subgraphs, in order of execution within each.
        inputs: Tensor numbers that the first subgraph takes.
        outputs: Tensor numbers that it gives.
        ends: Likewise both, for every subgraph.
    """

    file: bytes | bytearray
    tensors: tuple[tuple[Tensor, ...], ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ends: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    def all_tensors(self) -> Sequence[Tensor]:
        """Return the tensors of all subgraphs."""
        return [tensor for subgraph in self.tensors for tensor in subgraph]

    def by_name(self) -> dict[str, Tensor]:
        """Return the tensors of all subgraphs by name."""
        return {tensor.name: tensor for tensor in self.all_tensors()}

    def named(self, operator: Operator, number: int) -> Tensor:
        """Return a tensor of the operator's subgraph."""
        return self.tensors[operator.subgraph][number]

    def scope(self, operator: Operator) -> str:
        """Return the names of the outputs, each ended by a semicolon: what ai-edge-quantizer matches against."""
        return "".join(f"{self.named(operator, number).name};" for number in operator.outputs if number >= 0)

    def stored(self, tensor: Tensor) -> np.ndarray:
        """Return the elements of a constant as stored, in its shape; 4-bit integers are unpacked (a copy)."""
        raw = np.frombuffer(self.file, np.uint8, tensor.length, tensor.offset)
        if tensor.dtype == "INT4":
            return unpack_int4(raw, tensor.elements).reshape(tensor.shape)
        elements: np.ndarray = raw.view(_NUMPY_NAMES.get(tensor.dtype, tensor.dtype.lower()))
        return elements.reshape(tensor.shape) if elements.size == tensor.elements else elements

    def values(self, tensor: Tensor) -> np.ndarray:
        """Return the float32 values that a constant stands for, in its shape."""
        stored = self.stored(tensor)
        if tensor.block_size:
            scales = self.stored(self.tensors[tensor.subgraph][tensor.block_scales]).astype(np.float32)
            return np.asarray(stored * np.repeat(scales, tensor.block_size, axis=-1).reshape(stored.shape), np.float32)
        if tensor.scales is None:
            return stored.astype(np.float32)
        along = [1] * stored.ndim
        if len(tensor.scales) > 1:
            along[tensor.channel_axis] = -1
        scales, zeros = (np.asarray(each).reshape(along) for each in (tensor.scales, tensor.zero_points))
        values: np.ndarray = ((stored.astype(np.float32) - zeros) * scales).astype(np.float32)
        return values


def unpack_int4(packed: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` signed integers from bytes that hold two each, the low half first."""
    halves = np.stack([packed & 0xF, packed >> 4], axis=-1).reshape(-1)[:count].astype(np.int8)
    return np.where(halves > 7, halves - 16, halves).astype(np.int8)


def read_graph(file: bytes | bytearray) -> Graph:
    """Read the structure of a ``.tflite`` file; nothing is copied."""
    model = schema.Model.GetRootAs(file, 0)
    base = np.frombuffer(file, np.uint8).__array_interface__["data"][0]
    spans = [_span(model.Buffers(number), base) for number in range(model.BuffersLength())]
    codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
    # Old files keep the number of the operator in the field that is now called deprecated; new ones may use either.
    kinds = [_OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
    tensors, operators, ends = [], [], []
    for index in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(index)
        tensors.append(
            tuple(_tensor(subgraph.Tensors(number), index, spans) for number in range(subgraph.TensorsLength()))
        )
        ends.append((_numbers(subgraph.InputsAsNumpy()), _numbers(subgraph.OutputsAsNumpy())))
        for number in range(subgraph.OperatorsLength()):
            operator = subgraph.Operators(number)
            operators.append(
                Operator(
                    kind=kinds[operator.OpcodeIndex()],
                    subgraph=index,
                    inputs=_numbers(operator.InputsAsNumpy()),
                    outputs=_numbers(operator.OutputsAsNumpy()),
                    calls=_calls(kinds[operator.OpcodeIndex()], operator),
                )
            )
    return Graph(file, tuple(tensors), tuple(operators), *ends[0], tuple(ends))


def _calls(kind: str, operator: Any) -> tuple[int, ...]:
    names = _CALLED_SUBGRAPHS.get(kind)
    table = operator.BuiltinOptions()
    if names is None or table is None:
        return ()
    options = getattr(schema, f"{_OPTIONS[kind]}Options")()
    options.Init(table.Bytes, table.Pos)
    return tuple(int(getattr(options, name)()) for name in names)


def _span(buffer: Any, base: int) -> tuple[int, int]:
    if buffer.Offset() > 1:  # ai-edge-quantizer appends buffers behind the flatbuffer once they exceed 256 KiB
        return buffer.Offset(), buffer.Size()
    data = buffer.DataAsNumpy()
    if not isinstance(data, np.ndarray) or data.size == 0:  # flatbuffers answers 0 where there is no vector
        return -1, 0
    return data.__array_interface__["data"][0] - base, data.size


def _tensor(tensor: Any, subgraph: int, spans: Sequence[tuple[int, int]]) -> Tensor:
    quantization = tensor.Quantization()
    quantized = quantization is not None and quantization.ScaleLength() > 0
    offset, length = spans[tensor.Buffer()]
    block_size, block_scales = _blocks(quantization)
    return Tensor(
        name=tensor.Name().decode(),
        subgraph=subgraph,
        shape=_numbers(tensor.ShapeAsNumpy()),
        dtype=_TYPE_NAMES[tensor.Type()],
        buffer=tensor.Buffer(),
        offset=offset,
        length=length,
        scales=quantization.ScaleAsNumpy() if quantized else None,
        zero_points=quantization.ZeroPointAsNumpy() if quantized else None,
        channel_axis=quantization.QuantizedDimension() if quantized else 0,
        is_variable=bool(tensor.IsVariable()),
        block_size=block_size,
        block_scales=block_scales,
    )


def _blocks(quantization: Any) -> tuple[int, int]:
    """Return the size of the blocks that have a scale each, and the number of the tensor of scales."""
    if quantization is None or quantization.DetailsType() != schema.QuantizationDetails.BlockwiseQuantization:
        return 0, -1
    table = quantization.Details()
    details = schema.BlockwiseQuantization()
    details.Init(table.Bytes, table.Pos)
    return details.BlockSize(), details.Scales()


def _numbers(vector: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in vector) if isinstance(vector, np.ndarray) else ()
