"""The number format of a kernel, as the file really has it."""

from collections.abc import Iterator

from paretune.objectives.flatbuffer.graph import Graph, Operator, Tensor
from paretune.objectives.flatbuffer.places import KernelPlace
from paretune.spaces.errors import MeasurementFailed
from paretune.spaces.policies.policy import Quantization

#: Which input of an operator carries the activations, where it is not the first.
_ACTIVATION_INPUTS = {"TRANSPOSE_CONV": 2}


def kernel_tensor(graph: Graph, place: KernelPlace) -> Tensor:
    """Return the constant of a place.

    Raises:
        MeasurementFailed: The file has no such constant.
    """
    for tensor in graph.tensors[place.subgraph]:
        if tensor.name == place.tensor and tensor.is_constant:
            return tensor
    raise MeasurementFailed(f"The file must hold the constant '{place.tensor}'; it was not found.")


def stored_format(graph: Graph, place: KernelPlace) -> str:
    """Return the number format of a kernel and of the arithmetic it is used in.

    Returns:
        A word of :class:`~paretune.spaces.policies.policy.Quantization`, never ``int8_qat`` (files cannot tell it from
        ``int8``), or a description of something else, such as ``INT4 weights, INT8 activations``.
    """
    tensor = kernel_tensor(graph, place)
    formats = {_format(tensor, activations) for activations in _activation_types(graph, tensor)}
    return " and ".join(sorted(formats)) if formats else _format(tensor, "FLOAT32")


def is_stored_as(asked: Quantization, stored: str, place: KernelPlace) -> bool:
    """Return whether a kernel stored as ``stored`` has the format that was asked.

    Looking up an embedding does no arithmetic: integers go in and the same integers come out, so ``int8`` and
    ``dynamic_int8`` differ only in what follows.
    """
    wanted = file_format(asked)
    if place.operator == "GATHER" and {stored, wanted} <= {Quantization.INT8, Quantization.DYNAMIC_INT8}:
        return True
    return stored == wanted


def file_format(asked: Quantization) -> Quantization:
    """Return the format as a file can express it: trained and calibrated ``int8`` look the same."""
    return Quantization.INT8 if asked is Quantization.INT8_QAT else asked


def _format(tensor: Tensor, activations: str) -> str:
    weights = f"{tensor.dtype} in blocks" if tensor.block_size else tensor.dtype
    known = {
        ("FLOAT32", "FLOAT32"): Quantization.FLOAT32,
        ("FLOAT16", "FLOAT32"): Quantization.FLOAT16,
        ("INT8", "FLOAT32"): Quantization.DYNAMIC_INT8,
        ("INT8", "INT8"): Quantization.INT8,
        ("INT8", "INT16"): Quantization.INT16X8,
        ("INT4", "FLOAT32"): Quantization.INT4,
        ("INT4 in blocks", "FLOAT32"): Quantization.INT4_BLOCK,
    }
    found = known.get((weights, activations))
    return str(found) if found is not None else f"{weights} weights, {activations} activations"


def _activation_types(graph: Graph, tensor: Tensor) -> Iterator[str]:
    """Yield the type of the activations beside a constant, for every operator that uses it, also dequantized."""
    subgraph = graph.tensors[tensor.subgraph]
    for operator in graph.operators:
        if operator.subgraph != tensor.subgraph:
            continue
        if not any(number >= 0 and subgraph[number] is tensor for number in operator.inputs):
            continue
        if operator.kind == "DEQUANTIZE":
            yield "FLOAT32"
        elif operator.kind == "GATHER":
            yield _looked_up_type(graph, operator)
        else:
            yield subgraph[operator.inputs[_ACTIVATION_INPUTS.get(operator.kind, 0)]].dtype


def _looked_up_type(graph: Graph, gather: Operator) -> str:
    """Return the type in which rows of a table are used: float where they are only converted back."""
    number = gather.outputs[0]
    users = [
        operator for operator in graph.operators if operator.subgraph == gather.subgraph and number in operator.inputs
    ]
    if users and all(operator.kind == "DEQUANTIZE" for operator in users):
        return "FLOAT32"
    return graph.named(gather, number).dtype
