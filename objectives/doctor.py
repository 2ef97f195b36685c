"""The doctor: what each knob may do to each layer, and why not.

What tfmot supports is asked of tfmot's own registries, on a copy of the smallest layer of each kind, because asking
changes the layer that is asked about.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
    cluster_preserve_quantize_registry as cluster_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (
    Default8BitQuantizeRegistry,
)

from paretune.objectives.channels.groups import ModelChannels
from paretune.objectives.data.signature import consumers
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.macs import count_macs
from paretune.objectives.kernels.patterns import KernelView, why_unstructured
from paretune.objectives.kernels.tfmot_support import activation_name, clusters, is_relu, prunes, trains_activation
from paretune.objectives.kernels.views import kernel_views
from paretune.objectives.kernels.weights import compressed_variables
from paretune.objectives.pipeline.copies import fresh_layer
from paretune.objectives.ranks.spectrum import energies
from paretune.spaces.policies.decompositions import CHANNELS, SPATIAL, has_window
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.patterns import PATTERNS, TWO_OF_FOUR
from paretune.spaces.policies.quantization import Quantization

#: Their weights are folded into the layer before them at export, or scale raw inputs: not worth a line.
_UNREPORTED = ("BatchNormalization", "Normalization")

#: Layers whose kernels can be stored as two of a lower rank.
_RANKED = ("Dense", "Conv1D", "Conv2D")


def examine(
    model: Any,
    refused_formats: Mapping[str, Mapping[Quantization, str]],
    channels: ModelChannels,
    not_split: Mapping[str, str] | None = None,
) -> tuple[LayerSpec, ...]:
    """Describe the layers that a policy can decide about, in model order.

    Only the pointwise part of a SeparableConv2D is decided about. A layer with several such variables (a recurrent
    one) is described by the shape of the first and the weights of all.

    Args:
        model: The working copy of the user's model.
        refused_formats: Number formats that the exported file cannot carry, with the reason, by layer name.
        channels: Of the model.
        not_split: Why a kernel cannot be stored as two, by layer name.
    """
    layers = [layer for layer in model.layers if _is_covered(layer)]
    support = {kind: _kind_support(kind, layers) for kind in {type(layer).__name__ for layer in layers}}
    return tuple(
        _with_rank(
            _with_channels(
                _describe(layer, support[type(layer).__name__], dict(refused_formats.get(layer.name, {})), model),
                channels,
            ),
            layer,
            not_split or {},
        )
        for layer in layers
    )


def _with_rank(spec: LayerSpec, layer: Any, not_split: Mapping[str, str]) -> LayerSpec:
    if spec.kind not in _RANKED or getattr(layer, "groups", 1) > 1:
        reason = f"Ranks are built for {', '.join(_RANKED)} without groups."
    elif spec.name in not_split:
        reason = f"The kernel cannot be stored as two: {not_split[spec.name]}"
    else:
        kernel = compressed_variables(layer)[0].numpy()
        spatial = energies(kernel, SPATIAL) if has_window(kernel.shape) else ()
        spec = replace(spec, energies=energies(kernel, CHANNELS), spatial_energies=spatial)
        if spec.energies:
            return spec
        reason = "No two kernels are smaller than this one."
    return replace(spec, refusals={**spec.refusals, "rank": reason})


def _with_channels(spec: LayerSpec, channels: ModelChannels) -> LayerSpec:
    spec = replace(spec, reads=channels.read_by(spec.name), inputs_each=channels.inputs_each(spec.name))
    group = channels.group_of(spec.name)
    if group is not None and group.channels > 1:
        return replace(spec, channels=group.channels, channel_group=group.name)
    reason = channels.refusals.get(spec.name, f"{spec.kind} layers make no channels that could go one by one.")
    return replace(spec, refusals={**spec.refusals, "channels": reason})


def examine_others(model: Any) -> Mapping[str, str]:
    """Return, for each layer with weights that no knob covers, the reason; BatchNorm is left out."""
    return {
        layer.name: _why_not_covered(layer)
        for layer in model.layers
        if layer.weights and not _is_covered(layer) and type(layer).__name__ not in _UNREPORTED
    }


def _is_covered(layer: Any) -> bool:
    return bool(compressed_variables(layer)) and len(layer.inbound_nodes) == 1


def _why_not_covered(layer: Any) -> str:
    kind = type(layer).__name__
    if compressed_variables(layer):
        return f"It is used {len(layer.inbound_nodes)} times; shared layers stay as trained."
    if isinstance(layer, keras.layers.Wrapper):
        inner = type(layer.layer).__name__
        return f"No knob reaches a {inner} layer inside {kind}; it stays float32."
    if kind == "EinsumDense":
        return f"Its kernel is no matrix of inputs by outputs in '{layer.equation}'; it stays float32."
    return f"No knob covers {kind} layers; it stays float32."


@dataclass(frozen=True, slots=True)
class _KindSupport:
    """What tfmot does to a kind of layer."""

    prunes: bool
    clusters: bool
    trains_quantized: bool


def _kind_support(kind: str, layers: list[Any]) -> _KindSupport:
    smallest = min((layer for layer in layers if type(layer).__name__ == kind), key=lambda layer: layer.count_params())
    layer = fresh_layer(smallest)
    layer.build(smallest.input_shape)
    registry = Default8BitQuantizeRegistry()
    trains_quantized = (
        registry.supports(layer)
        and cluster_preserve.ClusterPreserveQuantizeRegistry(False).supports(layer)
        and bool(registry.get_quantize_config(layer).get_weights_and_quantizers(layer))
    )
    return _KindSupport(prunes(layer), clusters(layer), trains_quantized)


def _describe(layer: Any, support: _KindSupport, refused: dict[Quantization, str], model: Any) -> LayerSpec:
    kind = type(layer).__name__
    arrays = [variable.numpy() for variable in compressed_variables(layer)]
    reason = _why_not_trained_quantized(layer, support, model) or refused.get(Quantization.INT8, "")
    if reason:
        refused.setdefault(Quantization.INT8_QAT, reason)
    refused.pop(Quantization.FLOAT32, None)
    refusals = {str(mode): reason for mode, reason in refused.items()}
    if not support.prunes:
        refusals["sparsity"] = f"tfmot does not prune {kind} layers."
    if not support.clusters:
        refusals["clusters"] = f"tfmot does not cluster {kind} layers."
    views = kernel_views(layer) if support.prunes else []
    return LayerSpec(
        name=layer.name,
        kind=kind,
        weight_shape=tuple(int(size) for size in arrays[0].shape),
        weights=sum(array.size for array in arrays),
        distinct=len(np.unique(np.concatenate([array.ravel() for array in arrays]))),
        macs=count_macs(layer),
        prunable=support.prunes,
        clusterable=support.clusters,
        quantizations=tuple(mode for mode in Quantization if mode not in refused),
        refusals=refusals,
        pattern_floors=_pattern_floors(views),
        pattern_refusals={
            pattern: next(filter(None, reasons))
            for pattern in PATTERNS
            if any(reasons := [why_unstructured(pattern, view) for view in views])
        },
    )


def _pattern_floors(views: list[KernelView]) -> dict[str, float]:
    """Return the sparsity that 2:4 gives the kernels of a layer by itself; kernels that it does not fit have none."""
    fitting = [view for view in views if not why_unstructured(TWO_OF_FOUR, view)]
    if not fitting:
        return {}
    zeros = sum(view.rows * view.outputs - view.kept_of_four for view in fitting)
    return {TWO_OF_FOUR: zeros / sum(view.rows * view.outputs for view in views)}


def _why_not_trained_quantized(layer: Any, support: _KindSupport, model: Any) -> str:
    """Return why tfmot's quantization-aware training would fail or do nothing for this layer, or an empty string."""
    if not support.trains_quantized:
        return f"tfmot has no quantization-aware training for {type(layer).__name__} layers."
    if not trains_activation(layer):
        return f"tfmot has no quantization-aware training for the activation {activation_name(layer)}."
    readers = consumers(layer.output, model)
    if len(readers) == 1 and is_relu(readers[0]) and layer.name not in model.output_names:
        return f"tfmot leaves a layer out of quantization-aware training when '{readers[0].name}' follows it directly."
    return ""
