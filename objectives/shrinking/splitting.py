"""Store kernels of low rank in a ``.tflite`` file as two smaller ones: an operator becomes two in a row.

A fully connected operator becomes two. By channels, a convolution becomes one of its own window to fewer channels, and
one of a 1x1 window from them; spatially, one of a column of its window, and one of a row of it (see
:mod:`paretune.spaces.policies.decompositions`). Padding, strides and dilation are told of each axis alone, so that each
of the two takes its own share of them. Bias and activation go with the second.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from paretune.objectives.flatbuffer.graph import read_graph
from paretune.objectives.flatbuffer.places import INNER, OUTER, KernelPlace
from paretune.objectives.flatbuffer.stored import kernel_tensor
from paretune.objectives.ranks.spectrum import FloatArray, as_matrix, factors
from paretune.objectives.shrinking.smaller_tensors import add_buffer, replace_constants, unused_name
from paretune.objectives.templates.template import FloatTemplate
from paretune.spaces.errors import Infeasible
from paretune.spaces.policies.decompositions import CHANNELS, decomposition_of

#: Operators that can be split. Their kernels have output channels along the first axis, inputs along the others.
_SPLIT = ("CONV_2D", "FULLY_CONNECTED")
#: Which input of them is the kernel.
_KERNEL = 1


def why_not_split(template: FloatTemplate) -> Mapping[str, str]:
    """Return why a layer's kernel cannot be stored as two, one sentence, for the layers of which that is so."""
    reasons = {}
    for layer in template.shapes:
        own = [place for place in template.places.get(layer, ()) if place.compressed]
        kinds = sorted({place.operator for place in own} - set(_SPLIT))
        if not own:
            reasons[layer] = "the file has no kernel of it."
        elif kinds:
            reasons[layer] = f"it is computed by {' and '.join(kinds)}, and ranks are built for {' and '.join(_SPLIT)}."
        elif len(own) != 1 or own[0].part:
            reasons[layer] = f"its kernel is in {len(own)} parts in the file."
        elif own[0].subgraph:
            reasons[layer] = "it computes inside a loop."
    return reasons


def split_kernels(
    template: FloatTemplate, float_file: bytes, ranks: Mapping[str, int], decomposition: str
) -> tuple[FloatTemplate, bytes]:
    """Return the file with the kernels of some layers as two of a lower rank, and a template that tells where they are.

    It computes what ``float_file`` does if these kernels have that rank, up to rounding. The second kernel keeps the
    name of the whole one.

    Args:
        template: What ``float_file`` was filled from.
        float_file: The file before number formats.
        ranks: By layer name; a rank is never larger than the sides of the kernel in the file, as a matrix.
        decomposition: How they split kernels.

    Raises:
        Infeasible: The layer's operator is none that can be split.
        MeasurementFailed: The file lacks a kernel that the template has.
    """
    if not ranks:
        return template, float_file
    reasons = why_not_split(template)
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(float_file))
    places = dict(template.places)
    for layer, rank in ranks.items():
        if layer in reasons:
            raise Infeasible(f"Layer '{layer}' cannot have a rank: {reasons[layer]}")
        place = next(place for place in places[layer] if place.compressed)
        others = [other for other in places[layer] if other is not place]
        places[layer] = (*others, *_split(model, float_file, place, rank, decomposition))
    return replace(template, places=places), bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _split(
    model: Any, file: bytes, place: KernelPlace, rank: int, decomposition: str
) -> tuple[KernelPlace, KernelPlace]:
    """Split every operator that uses a kernel."""
    graph = read_graph(file)
    outer, inner = _factors(graph.stored(kernel_tensor(graph, place)), rank, decomposition)
    rank, subgraph = len(inner), model.subgraphs[0]
    is_spatial = any(size > 1 for size in outer.shape[1:-1])  # by channels, the second meets one position
    number = next(index for index, tensor in enumerate(subgraph.tensors) if tensor.name.decode() == place.tensor)
    own = _add_tensor(subgraph, number, inner.shape)
    subgraph.tensors[own].buffer = add_buffer(model, inner.reshape(-1).view(np.uint8))
    constants = [own]
    if place.operator == "CONV_2D":  # LiteRT's convolution refuses to do without a bias
        constants.append(_add_tensor(subgraph, number, (rank,), b"/inner_bias"))
        subgraph.tensors[constants[-1]].buffer = add_buffer(model, np.zeros(4 * rank, np.uint8))
    scopes = []
    for operator in [each for each in subgraph.operators if number in each.inputs]:
        between = _add_between(subgraph, operator, rank, is_spatial=is_spatial)
        first = _first(operator, constants, between)
        operator.inputs = [between, number, *operator.inputs[2:]]
        if place.operator == "CONV_2D":
            operator.builtinOptions = copy(operator.builtinOptions)
            _share_axes(first.builtinOptions, operator.builtinOptions, is_spatial=is_spatial)
        at = next(index for index, each in enumerate(subgraph.operators) if each is operator)
        subgraph.operators.insert(at, first)
        scopes.append(f"{subgraph.tensors[between].name.decode()};")
    uses = [at for at, each in enumerate(subgraph.operators) if number in each.inputs]
    replace_constants(model, {number: {(at, _KERNEL): outer for at in uses}})
    first_place = replace(
        place,
        tensor=subgraph.tensors[own].name.decode(),
        part=INNER,
        scopes=tuple(scopes),
        folded_axes=(),
    )
    return first_place, replace(place, part=OUTER, folded_axes=())


def _factors(kernel: FloatArray, rank: int, decomposition: str) -> tuple[FloatArray, FloatArray]:
    """Return the second and the first of two kernels that stand for one, all with output channels along axis 0."""
    outputs, *window, inputs = kernel.shape
    matrix = as_matrix(np.moveaxis(kernel, 0, -1), decomposition).T
    rank = min(rank, *matrix.shape)
    outer, inner = factors(matrix, rank)
    if decomposition_of((*window, inputs, outputs), decomposition) == CHANNELS:
        return outer.reshape(outputs, *(1 for _ in window), rank), inner.reshape(rank, *window, inputs)
    height, width = window
    columns = outer.reshape(width, outputs, rank).swapaxes(0, 1)
    return np.ascontiguousarray(columns[:, None]), inner.reshape(rank, height, 1, inputs)


def _first(operator: Any, constants: list[int], output: int) -> Any:
    """Return the first of two operators: as the whole one, of other constants and without activation."""
    first = copy(operator)
    first.builtinOptions = copy(operator.builtinOptions)
    first.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    first.inputs = [operator.inputs[0], *constants]
    first.outputs = [output]
    return first


def _share_axes(first: Any, second: Any, *, is_spatial: bool) -> None:
    """Let each of two convolutions, with the options of the whole one, go on along the axes of its own window alone."""
    second.strideH = second.dilationHFactor = 1
    if is_spatial:
        first.strideW = first.dilationWFactor = 1
    else:
        second.strideW = second.dilationWFactor = 1
        second.padding = schema.Padding.VALID


def _add_between(subgraph: Any, operator: Any, rank: int, *, is_spatial: bool) -> int:
    """Add what the first of two operators gives: as many rows and columns as it has gone through."""
    number = operator.outputs[0]
    between, given = subgraph.tensors[number], subgraph.tensors[operator.inputs[0]]
    added = _add_tensor(subgraph, number, (*(int(size) for size in between.shape[:-1]), rank))
    if is_spatial:
        twin = subgraph.tensors[added]
        twin.shape[2] = int(given.shape[2])
        if twin.shapeSignature is not None:
            twin.shapeSignature[2] = int((given.shape if given.shapeSignature is None else given.shapeSignature)[2])
    return added


def _add_tensor(subgraph: Any, like: int, shape: tuple[int, ...], ending: bytes = b"/inner") -> int:
    """Add a tensor like another one, of another shape and under a name of its own."""
    twin = copy(subgraph.tensors[like])
    twin.name = unused_name(subgraph, twin.name + ending)
    twin.shape = list(shape)
    if twin.shapeSignature is not None:
        twin.shapeSignature = [*twin.shapeSignature[: len(shape) - 1], shape[-1]]
    subgraph.tensors.append(twin)
    return len(subgraph.tensors) - 1
