"""A LiteRT file of one or two inputs that is made in a millisecond, without TensorFlow."""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from paretune.spaces.results.evaluator import FileExample

WIDTH = 4


def sum_and_product() -> bytes:
    """Return a file that gives ``output_0 = left + right`` and ``output_1 = left * right``, in rows of four.

    Its own order is not that of the names: it takes ``right`` first and gives the product first.
    """
    tensors = ["right", "left", "product", "sum"]
    operators = [_operator(0, [1, 0], [3], "Add"), _operator(1, [1, 0], [2], "Mul")]
    codes = [schema.BuiltinOperator.ADD, schema.BuiltinOperator.MUL]
    return _file(tensors, operators, codes, {"left": 1, "right": 0}, {"output_0": 3, "output_1": 2})


def doubled() -> bytes:
    """Return a file that gives ``output_0 = x + x``, in rows of four."""
    return _file(
        ["x", "twice"], [_operator(0, [0, 0], [1], "Add")], [schema.BuiltinOperator.ADD], {"x": 0}, {"output_0": 1}
    )


def sums_of_sums() -> bytes:
    """Return a file that adds three sums of its two inputs, the first of them increased once more, in rows of four."""
    names = ["left", "right", "first", "second", "third", "more", "both", "all"]
    added = [(0, 1, 2), (0, 1, 3), (0, 1, 4), (2, 1, 5), (5, 3, 6), (6, 4, 7)]
    operators = [_operator(0, [one, other], [result], "Add") for one, other, result in added]
    return _file(names, operators, [schema.BuiltinOperator.ADD], {"left": 0, "right": 1}, {"output_0": 7})


def example_of_sum_and_product() -> FileExample:
    """Return what that file answers, computed with NumPy."""
    left = np.arange(3 * WIDTH, dtype=np.float32).reshape(3, WIDTH)
    right = np.full_like(left, 0.5)
    return FileExample(
        inputs={"left": left, "right": right},
        outputs={"output_0": left + right, "output_1": left * right},
        operators=("ADD", "MUL"),
    )


def example_of_doubled() -> FileExample:
    """Return what that file answers, computed with NumPy."""
    x = np.asarray([[0, 1, 2, 7], [3, 1, 2, 0], [0, 5, 2, 1]], np.float32)
    return FileExample(inputs={"x": x}, outputs={"output_0": 2 * x}, operators=("ADD",))


def _file(
    names: list[str], operators: list[Any], codes: list[int], inputs: dict[str, int], outputs: dict[str, int]
) -> bytes:
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(name) for name in names]
    graph.inputs, graph.outputs = sorted(inputs.values()), sorted(outputs.values())
    graph.operators, graph.name = operators, "main"
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = _ports(inputs), _ports(outputs)
    model = schema.ModelT()
    model.version, model.description = 3, "tiny"
    model.buffers = [schema.BufferT()]
    model.subgraphs, model.signatureDefs = [graph], [signature]
    model.operatorCodes = [_code(code) for code in codes]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _tensor(name: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, WIDTH], schema.TensorType.FLOAT32, 0
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int], kind: str) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
    operator.builtinOptions = getattr(schema, f"{kind}OptionsT")()
    return operator


def _ports(numbers: dict[str, int]) -> list[Any]:
    ports = []
    for name, number in numbers.items():
        port = schema.TensorMapT()
        port.name, port.tensorIndex = name, number
        ports.append(port)
    return ports


def _code(number: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, number, 1
    return code
