"""Take channels out of a ``.tflite`` file: structured pruning, where it pays.

Training holds the removed channels at zero in the full graph. Here the filters, the biases and norms beside them, and
the slices of every kernel that reads them leave the file, which then computes the same with less.

References:
    Li et al. (2017), Pruning filters for efficient ConvNets, sec. 3 (a filter, its feature map, and the kernels of the
    next layer that read it go together).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

from paretune.objectives.flatbuffer.graph import Graph, Operator, read_graph
from paretune.objectives.flatbuffer.stored import kernel_tensor
from paretune.objectives.shrinking.channel_masks import BoolArray, Mask, Operand, Passed, Step
from paretune.objectives.shrinking.channel_rules import RULES
from paretune.objectives.shrinking.smaller_tensors import Uses, replace_constants, shrink_activations
from paretune.objectives.templates.template import FloatTemplate
from paretune.spaces.errors import Infeasible

#: Operators whose kernel has its output channels along the first axis.
_PRODUCERS = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@dataclass(frozen=True, slots=True)
class _Cuts:
    """What becomes of the first subgraph.

    Attributes:
        masks: What stays of computed tensors, by number; those that stay whole are left out.
        constants: What every use of a constant becomes, by number of the tensor.
    """

    masks: dict[int, Mask] = field(default_factory=dict)
    constants: dict[int, Uses] = field(default_factory=dict)


def cut_channels(template: FloatTemplate, float_file: bytes, kept: Mapping[str, BoolArray]) -> bytes:
    """Return the file without the output channels that layers do not keep.

    It computes what ``float_file`` does if every kernel that reads a removed channel has zeros there. Names of tensors
    stay, so that number formats and fidelity find the kernels; inputs, outputs and signature stay as they are.

    Args:
        template: What ``float_file`` was filled from.
        float_file: The file as :meth:`FloatTemplate.fill` gave it.
        kept: By layer name, one truth per output channel; layers not named keep all. Layers whose channels meet (in an
            addition, say) must keep the same ones. A DepthwiseConv2D keeps those of its input, and is not named.

    Raises:
        Infeasible: Removed channels reach an operator that needs them all, or an output of the model; or the layer's
            operator is none whose channels can be removed.
        ValueError: A layer has no kernel in the file, its mask has another length than its channels or keeps none, or
            layers that meet keep different channels.
        MeasurementFailed: The file lacks a kernel that the template has.
    """
    graph = read_graph(float_file)
    own = _own_masks(template, graph, kept)
    if not own:
        return float_file
    model = flatbuffer_utils.read_model_from_bytearray(float_file)
    cuts = _follow(graph, model.subgraphs[0], own)
    for number in graph.outputs:
        if number in cuts.masks:
            raise Infeasible(
                f"Channels of layer '{cuts.masks[number].layer}' cannot be removed: they are an output of the model. "
                "Keep all channels of that layer."
            )
    shrink_activations(model.subgraphs[0], cuts.masks)
    replace_constants(model, cuts.constants)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _own_masks(template: FloatTemplate, graph: Graph, kept: Mapping[str, BoolArray]) -> dict[str, Mask]:
    """Return the masks of layers that lose channels, by name of the kernel."""
    masks = {}
    for layer, given in kept.items():
        if layer not in template.places:
            raise ValueError(f"`kept` must name layers with a kernel in the file, got '{layer}'.")
        truths = np.asarray(given, bool)
        for place in template.places[layer]:
            if not place.compressed:  # the depthwise part of a SeparableConv2D
                continue
            if place.operator not in _PRODUCERS or place.subgraph:
                raise Infeasible(
                    f"Channels of layer '{layer}' cannot be removed: that is built for {', '.join(_PRODUCERS)}, and "
                    f"the layer is computed by {place.operator}. Keep all its channels."
                )
            channels = kernel_tensor(graph, place).shape[0]
            if truths.shape != (channels,) or not truths.any():
                raise ValueError(
                    f"`kept` must hold one truth for each of the {channels} channels of layer '{layer}', at least one "
                    f"of them true; got shape {truths.shape}, {int(truths.sum())} true."
                )
            if not truths.all():
                masks[place.tensor] = Mask(0, truths, layer)
    return masks


def _follow(graph: Graph, subgraph: Any, own: Mapping[str, Mask]) -> _Cuts:
    """Follow the masks through the operators, which the file lists in order of execution."""
    cuts = _Cuts()
    operators = [operator for operator in graph.operators if operator.subgraph == 0]
    for position, (operator, stored) in enumerate(zip(operators, subgraph.operators, strict=True)):
        step = _step(graph, operator, stored.builtinOptions, cuts.masks, own)
        passed = _pass(step) if step.masked or step.own is not None else Passed()
        if passed.mask is not None:
            cuts.masks[operator.outputs[0]] = passed.mask
        for number, operand in enumerate(step.inputs):
            if operand is not None and operand.constant is not None:
                uses = cuts.constants.setdefault(operator.inputs[number], {})
                uses[position, number] = passed.constants.get(number)
        if operator.kind == "RESHAPE" and 1 in passed.constants and stored.builtinOptions is not None:
            stored.builtinOptions.newShape = passed.constants[1].tolist()
    return cuts


def _step(graph: Graph, operator: Operator, options: Any, masks: Mapping[int, Mask], own: Mapping[str, Mask]) -> Step:
    inputs: list[Operand | None] = []
    mask = None
    output = graph.named(operator, operator.outputs[0]) if operator.outputs else None
    for number in operator.inputs:
        if number < 0:
            inputs.append(None)
            continue
        tensor = graph.named(operator, number)
        constant = graph.stored(tensor) if tensor.is_constant else None
        inputs.append(Operand(shape=tensor.shape, constant=constant, mask=masks.get(number)))
        if tensor.is_constant and output is not None and tensor.name in own:
            mask = own[tensor.name].on(len(output.shape) - 1)
    return Step(
        kind=operator.kind,
        name=output.name if output is not None else "",
        options=options,
        inputs=tuple(inputs),
        output=output.shape if output is not None else (),
        own=mask,
    )


def _pass(step: Step) -> Passed:
    if step.kind not in RULES or (step.own is not None and step.kind not in _PRODUCERS):
        raise step.refusal()
    return RULES[step.kind](step)
