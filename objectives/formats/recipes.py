"""Per-layer number formats as a recipe of ai-edge-quantizer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_quantizer import qtyping, quantizer

from paretune.objectives.flatbuffer.graph import Graph, Operator
from paretune.objectives.flatbuffer.places import KernelPlace
from paretune.objectives.flatbuffer.stored import kernel_tensor
from paretune.objectives.formats.calibration import Ranges
from paretune.objectives.measure.interpreter import quiet
from paretune.spaces.errors import Infeasible
from paretune.spaces.policies.quantization import BLOCK_WEIGHTS, Quantization

_Names = qtyping.TFLOperationName
#: Operators with kernels whose formats the tool sets, by the schema's name. It skips what it cannot do, silently.
TOOL_OPERATORS: Mapping[str, Any] = {
    "CONV_2D": _Names.CONV_2D,
    "DEPTHWISE_CONV_2D": _Names.DEPTHWISE_CONV_2D,
    "FULLY_CONNECTED": _Names.FULLY_CONNECTED,
    "TRANSPOSE_CONV": _Names.CONV_2D_TRANSPOSE,
}
#: Number formats by operator: what the tool and LiteRT have, tried out with ai-edge-quantizer 0.10 and LiteRT 2.3.
_POSSIBLE: Mapping[str, frozenset[Quantization]] = {
    "CONV_2D": frozenset(Quantization) - {Quantization.INT4_BLOCK},
    "FULLY_CONNECTED": frozenset(Quantization),
    "DEPTHWISE_CONV_2D": frozenset(Quantization) - {Quantization.INT4, Quantization.INT4_BLOCK},
    "TRANSPOSE_CONV": frozenset(Quantization) - {Quantization.INT4, Quantization.INT4_BLOCK},
    "GATHER": frozenset(
        {
            Quantization.FLOAT32,
            Quantization.FLOAT16,
            Quantization.DYNAMIC_INT8,
            Quantization.INT8,
            Quantization.INT8_QAT,
        }
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": frozenset({Quantization.FLOAT32, Quantization.FLOAT16, Quantization.DYNAMIC_INT8}),
}
_ANYWHERE = frozenset({Quantization.FLOAT32, Quantization.FLOAT16})
#: Operators without kernels that may compute in the integers of what feeds them.
_FOLLOWER_NAMES = """
    ADD SUB MUL MEAN AVERAGE_POOL_2D MAX_POOL_2D CONCATENATION RESHAPE SOFTMAX LOGISTIC TANH RELU HARD_SWISH GELU PAD
    PADV2 MIRROR_PAD TRANSPOSE STRIDED_SLICE SLICE SPLIT PACK UNPACK MAXIMUM RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    SPACE_TO_DEPTH
"""
_FOLLOWERS: Mapping[str, Any] = {name: _Names(name) for name in _FOLLOWER_NAMES.split()}
#: Operators that lose too much in eight bits (the insides of a layer normalisation), or are slower (the products of
#: attention: in int8, LiteRT takes almost five times as long for a whole transformer). What they feed stays float too:
#: scores of attention that are masked are minus infinity, next to which integers leave nothing of the others.
_DELICATE = frozenset(("RSQRT", "SQRT", "SQUARED_DIFFERENCE", "DIV", "SUM", "EXP", "LOG", "POW", "BATCH_MATMUL"))
#: Operators with kernels that no layer of a policy may own.
_KERNELS = frozenset(
    (*TOOL_OPERATORS, "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "WHILE", "GATHER", "CONV_3D")
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a recipe: the operators of one kind, and how to quantize them."""

    operator: Any
    algorithm: Any
    config: Any


#: Operator scopes (see :meth:`Graph.scope`) by rule.
Recipe = Mapping[Rule, Sequence[str]]


def why_impossible(place: KernelPlace, form: Quantization) -> str | None:
    """Return why a kernel cannot have a number format, one sentence, or ``None`` where nothing is known against it."""
    if form.is_static and place.subgraph:
        return "it computes inside a loop, whose activations cannot be calibrated."
    if form not in _POSSIBLE.get(place.operator, _ANYWHERE):
        return f"the operator {place.operator} has no {form} form."
    if form is Quantization.INT4_BLOCK and place.shape[-1] % BLOCK_WEIGHTS:
        return f"its {place.shape[-1]} inputs cannot be divided into blocks of {BLOCK_WEIGHTS}."
    return None


def make_recipe(
    graph: Graph, places: Mapping[str, Sequence[KernelPlace]], formats: Mapping[str, Quantization]
) -> Recipe:
    """Return the rules that give layers their formats, and operators between them what follows from it.

    Args:
        graph: The float file.
        places: Kernels of every layer in ``formats``.
        formats: Number format by layer, ``int8`` for ``int8_qat``, float32 left out.

    Raises:
        Infeasible: A kernel cannot have the format asked, see :func:`why_impossible`.
    """
    recipe: dict[Rule, list[str]] = {}
    given: dict[str, Quantization] = {}
    for layer, own in places.items():
        form = formats[layer]
        for place in own:
            # a file that lost channels has narrower kernels than the template
            reason = why_impossible(replace(place, shape=kernel_tensor(graph, place).shape), form)
            if reason is not None:
                raise Infeasible(f"Layer '{layer}' cannot be stored as {form}: {reason}")
            given |= dict.fromkeys(place.scopes, form)
            rule = _kernel_rule(place, form)
            if rule is not None:
                recipe.setdefault(rule, []).extend(scope for scope in place.scopes if scope not in recipe[rule])
    for operator, form in _followers(graph, given):
        recipe.setdefault(_follower_rule(operator.kind, form), []).append(graph.scope(operator))
    return recipe


def apply_recipe(float_file: bytes, recipe: Recipe, ranges: Ranges) -> bytes:
    """Let ai-edge-quantizer quantize a file.

    Args:
        float_file: The file.
        recipe: What :func:`make_recipe` gave.
        ranges: Least and greatest value of activations by tensor name; empty when no rule is static.

    Raises:
        Infeasible: The tool refuses.
    """
    tool = quantizer.Quantizer(float_file)
    calibrated = {name: {"min": np.array([low]), "max": np.array([high])} for name, (low, high) in ranges.items()}
    try:
        for rule, scopes in recipe.items():
            regex = "^(?:" + "|".join(re.escape(scope) for scope in scopes) + ")$"
            tool.update_quantization_recipe(regex, rule.operator, rule.config, rule.algorithm)
        with (
            quiet(),
            # halves overflow, and blocks whose scale is zero as a half divide by it: both are looked for afterwards
            np.errstate(over="ignore", divide="ignore", invalid="ignore"),
        ):  # the tool opens an interpreter to check the names of calibrated tensors
            result = tool.quantize(calibrated or None, enable_progress_bar=False, enable_progress_report=False)
    except (RuntimeError, ValueError) as error:
        raise Infeasible(f"The file cannot be quantized: {str(error).splitlines()[0]}") from error
    return bytes(result.quantized_model)


def _kernel_rule(place: KernelPlace, form: Quantization) -> Rule | None:
    """Return how to quantize the operator of a kernel; ``None`` where the tool has no part in it."""
    if place.operator == "GATHER" and form in (Quantization.INT8, Quantization.DYNAMIC_INT8):
        # A static lookup passes the table's integers on. Where what follows is float, they are converted right behind.
        return Rule(_Names.GATHER, _MIN_MAX, _static(8, symmetric=True, weights=_integers(8, _TENSORWISE)))
    if place.operator not in TOOL_OPERATORS:
        return None
    operator = TOOL_OPERATORS[place.operator]
    if form is Quantization.FLOAT16:
        return Rule(operator, quantizer.AlgorithmName.FLOAT_CASTING, _HALF)
    weights = _integers(form.weight_bits, _granularity(place, form))
    if form is Quantization.INT16X8:
        return Rule(operator, _MIN_MAX, _static(16, symmetric=True, weights=weights))
    if form is Quantization.INT8:
        return Rule(operator, _MIN_MAX, _static(8, symmetric=False, weights=weights))
    dynamic = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.INTEGER
    )
    return Rule(operator, _MIN_MAX, dynamic)


def _granularity(place: KernelPlace, form: Quantization) -> Any:
    """Return what shares a scale: a block of weights, an output channel or the whole kernel."""
    if form is Quantization.INT4_BLOCK:
        return qtyping.QuantGranularity[f"BLOCKWISE_{BLOCK_WEIGHTS}"]
    return _TENSORWISE if _has_one_scale(place, form) else _CHANNELWISE


def _has_one_scale(place: KernelPlace, form: Quantization) -> bool:
    """Return whether a kernel gets one scale rather than one per output channel.

    Dense layers do, as tfmot trains them. Not factors of a kernel, which nobody trains and whose channels differ as the
    singular values do. Not where a norm scales output channels apart, nor in four bits, where one
    scale is too coarse; but always where a norm scales input channels apart: two scales crossing would multiply the
    number of distinct values.
    """
    if place.operator != "FULLY_CONNECTED" or place.is_factor:
        return False
    if place.folded_axes:
        return place.channel_axis not in place.folded_axes
    return form is not Quantization.INT4


def _follower_rule(kind: str, form: Quantization) -> Rule:
    wide = form is Quantization.INT16X8
    weights = _integers(8, _TENSORWISE)
    return Rule(_FOLLOWERS[kind], _MIN_MAX, _static(16 if wide else 8, symmetric=wide, weights=weights))


def _followers(graph: Graph, given: Mapping[str, Quantization]) -> Sequence[tuple[Operator, Quantization]]:
    """Return the operators without kernels that compute in integers, and in which format.

    Formats flow from kernels downstream. An operator follows when all formats that reach it are one and static; the
    inputs of the model bring none.
    """
    followers = []
    reaching: dict[int, frozenset[Quantization]] = {}
    for operator in graph.operators:
        if operator.subgraph:
            continue
        formats = frozenset[Quantization]().union(*(reaching.get(number, frozenset()) for number in operator.inputs))
        if graph.scope(operator) in given:
            formats = frozenset({given[graph.scope(operator)]})
        elif operator.kind in _DELICATE or (operator.kind in _KERNELS and _has_kernel(graph, operator)):
            formats = frozenset({Quantization.FLOAT32})
        elif operator.kind in _FOLLOWERS and len(formats) == 1 and next(iter(formats)).is_static:
            followers.append((operator, next(iter(formats))))
        reaching |= dict.fromkeys(operator.outputs, formats)
    return followers


def _has_kernel(graph: Graph, operator: Operator) -> bool:
    inputs = [graph.named(operator, number) for number in operator.inputs if number >= 0]
    return operator.kind == "WHILE" or any(tensor.is_constant and tensor.dtype == "FLOAT32" for tensor in inputs)


_MIN_MAX = quantizer.AlgorithmName.MIN_MAX_UNIFORM_QUANT
_TENSORWISE = qtyping.QuantGranularity.TENSORWISE
_CHANNELWISE = qtyping.QuantGranularity.CHANNELWISE
_HALF = qtyping.OpQuantizationConfig(
    weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
    compute_precision=qtyping.ComputePrecision.FLOAT,
    explicit_dequantize=True,
)


def _integers(bits: int, granularity: Any) -> Any:
    return qtyping.TensorQuantizationConfig(num_bits=bits, symmetric=True, granularity=granularity)


def _static(bits: int, *, symmetric: bool, weights: Any) -> Any:
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(num_bits=bits, symmetric=symmetric),
        weight_tensor_config=weights,
        compute_precision=qtyping.ComputePrecision.INTEGER,
    )
