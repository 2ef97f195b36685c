"""Stage 3: quantization-aware training that keeps zeros and clusters.

tfmot's scheme for this (PCQAT) breaks a per-layer policy in four quiet ways, mended here:

* it shares ONE weight quantizer among all layers of a class, so that a single layer without zeros switches sparsity
  preservation off for all: here every layer gets a quantizer of its own, chosen by its policy;
* for Conv2D it switches to centroids per channel when the counts per channel happen to be alike, which multiplies the
  distinct values: here centroids are those of the whole tensor, unless the recipe clusters by channel;
* by channel, it knows Conv2D alone, and only counts that are alike: here all other layers are held;
* layers that are not annotated drift, and so do layers in front of a Concatenate, which tfmot gives its default
  quantizer whatever the registry says: they are held (:mod:`paretune.objectives.reference.hold`).
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
    cluster_preserve_quantize_registry as cluster_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
    prune_preserve_quantize_registry as prune_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_registry,
    default_8bit_quantize_scheme,
    default_8bit_quantizers,
)

from paretune.objectives.keras_door import keras, tfmot
from paretune.objectives.kernels.cluster_lines import channel_axis, lines_of
from paretune.objectives.kernels.weights import LayerWeights, compressed_variables
from paretune.objectives.pipeline.annotation import annotated_layers
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.fitting import AfterEachStep, fit
from paretune.objectives.reference.hold import Held, holder
from paretune.objectives.reference.wrapping import wrap_layers
from paretune.spaces.candidates.stage_recipes import CHANNEL, TENSOR
from paretune.spaces.policies.policy import LayerPolicy


def quantize_aware(
    model: Any, weights: LayerWeights, task: StageTask, data: TrainingData, meter: Meter
) -> LayerWeights:
    """Train with fake int8 quantization in the ``int8_qat`` layers; all layers keep zeros, clusters and ranks.

    Returns:
        Float weights, trained to be rounded.

    Raises:
        Infeasible: The loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """
    policy = task.policy
    copy = fresh_copy(model, weights)
    annotated = annotated_layers(copy, policy)
    axes = {layer.name: channel_axis(type(layer).__name__, task.cluster_scope) for layer in model.layers}
    kept = {name: _kept_clusters(copy.get_layer(name), task, axes[name]) for name in policy}

    def annotate(layer: Any) -> Any:
        return tfmot.quantization.keras.quantize_annotate_layer(layer) if layer.name in annotated else layer

    wrapped = tfmot.quantization.keras.quantize_apply(wrap_layers(copy, annotate), scheme=_PolicyScheme(task, kept))
    layers = {_plain_name(layer): layer for layer in wrapped.layers}
    hold = holder(
        [
            Held(
                variable=variable,
                zeros=task.keeps_zeros(name) or decided.clusters is not None,
                clustered=decided.clusters is not None,
                axis=axes[name],
                rank=decided.rank,
                decomposition=task.decomposition,
            )
            for name, decided in policy.items()
            if (task.keeps_zeros(name) or decided.clusters is not None or decided.rank is not None)
            and not _is_preserved(layers[name])
            for variable in _unquantized(layers[name])
        ]
    )
    fit(wrapped, data, task, meter, callbacks=[AfterEachStep(hold)])
    return {layer.name: _trained(layers[layer.name], layer) for layer in model.layers if layer.weights}


class _PolicyScheme(default_8bit_quantize_scheme.Default8BitQuantizeScheme):  # type: ignore[misc]  # tfmot is untyped
    """tfmot's default 8-bit scheme with a weight quantizer for each layer's own policy."""

    def __init__(self, task: StageTask, kept: Mapping[str, str]) -> None:
        super().__init__()
        self._task, self._kept = task, kept

    def get_quantize_registry(self) -> Any:
        return _PolicyRegistry(self._task, self._kept)


class _PolicyRegistry(default_8bit_quantize_registry.Default8BitQuantizeRegistry):  # type: ignore[misc]  # untyped
    def __init__(self, task: StageTask, kept: Mapping[str, str]) -> None:
        super().__init__()
        self._task, self._kept = task, kept

    def get_quantize_config(self, layer: Any) -> Any:
        # A registry of its own, because tfmot hands out one shared config per class.
        config = default_8bit_quantize_registry.Default8BitQuantizeRegistry().get_quantize_config(layer)
        quantizer = _weight_quantizer(layer, self._task, self._kept.get(layer.name, TENSOR))
        if quantizer is not None:
            config.weight_quantizer = quantizer
        return config


def _kept_clusters(layer: Any, task: StageTask, axis: int | None) -> str:
    """Return which clusters of a layer tfmot is to keep: ``tensor``, ``channel``, or ``none``, so that it is held.

    By channel, it pads counts that differ by one, takes others for those of the tensor, and makes the smallest centroid
    of every channel of a layer with zeros zero.
    """
    if axis is None or task.policy[layer.name].clusters is None:
        return TENSOR
    lines = [np.unique(line) for line in lines_of(layer.get_weights()[0], axis)]
    is_alike = len({line.size for line in lines}) == 1 and lines[0].size > 1
    has_zeros = not task.keeps_zeros(layer.name) or all(0 in line for line in lines)
    return CHANNEL if type(layer).__name__ == "Conv2D" and is_alike and has_zeros else "none"


def _weight_quantizer(layer: Any, task: StageTask, kept: str) -> Any:
    decided, keeps_zeros = task.policy.get(layer.name, LayerPolicy()), task.keeps_zeros(layer.name)
    # both are fake-quantized by channel without zeros, and must be with them
    is_convolution = isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    if decided.clusters is not None:
        if kept == CHANNEL:
            return _ChannelCentroids(keeps_zeros)
        if kept != TENSOR:
            return None
        return (_GlobalCentroidsConv if is_convolution else _GlobalCentroids)(keeps_zeros)
    if keeps_zeros:
        return (
            prune_preserve.PrunePreserveDefault8BitConvWeightsQuantizer()
            if is_convolution
            else prune_preserve.PrunePreserveDefault8BitWeightsQuantizer()
        )
    return None


class _PerTensor:
    """Show tfmot's quantizer a layer that it does not know for a convolution, so that it clusters per tensor."""

    def _build_clusters(self, name: str, layer: Any) -> Any:
        plain = SimpleNamespace(**{name: getattr(layer.layer, name)}, data_format="channels_last")
        view = SimpleNamespace(layer=plain, name=layer.name, add_weight=layer.add_weight)
        return super()._build_clusters(name, view)  # type: ignore[misc]  # mixed into tfmot's quantizers


class _GlobalCentroids(_PerTensor, cluster_preserve.ClusterPreserveDefault8BitWeightsQuantizer):  # type: ignore[misc]
    pass


class _GlobalCentroidsConv(_PerTensor, cluster_preserve.ClusterPreserveDefault8BitConvWeightsQuantizer):  # type: ignore[misc]
    def build(self, tensor_shape: Any, name: str, layer: Any) -> Any:
        # tfmot's own build names the class whose clusters it wants, past the one above
        ranges = default_8bit_quantizers.Default8BitConvWeightsQuantizer.build(self, tensor_shape, name, layer)
        return {**self._build_clusters(name, layer), **ranges}


class _ChannelCentroids(cluster_preserve.ClusterPreserveDefault8BitConvWeightsQuantizer):  # type: ignore[misc]
    pass


_PRESERVING = (
    _PerTensor,
    _ChannelCentroids,
    prune_preserve.PrunePreserveDefault8BitWeightsQuantizer,
    prune_preserve.PrunePreserveDefault8BitConvWeightsQuantizer,
)


def _plain_name(layer: Any) -> str:
    return str(layer.layer.name if _is_wrapped(layer) else layer.name)


def _is_wrapped(layer: Any) -> bool:
    return hasattr(layer, "quantize_config") and hasattr(layer, "layer")


def _is_preserved(layer: Any) -> bool:
    """Whether tfmot fake-quantizes the weights of this layer, with the quantizer that its policy asks for."""
    quantizers = [quantizer for _, quantizer, _ in getattr(layer, "_weight_vars", [])]
    return bool(quantizers) and all(isinstance(quantizer, _PRESERVING) for quantizer in quantizers)


def _unquantized(layer: Any) -> list[Any]:
    """Return the variables that a policy acts on; the layer's own attributes may hold fake-quantized tensors by now."""
    kept = [variable for variable, _, _ in getattr(layer, "_weight_vars", [])]
    return kept or compressed_variables(layer.layer if _is_wrapped(layer) else layer)


def _trained(layer: Any, original: Any) -> list[Any]:
    """Return the trained values of the original layer's weights, in its order.

    A wrapped layer's own attributes hold fake-quantized tensors by now; its variables keep their short names. Those of
    other kinds of layers need not differ (attention has four kernels), but are in order.
    """
    if not _is_wrapped(layer):
        return list(layer.get_weights())
    by_name = {_short_name(variable): variable for variable in reversed(layer.weights)}
    return [by_name[_short_name(variable)].numpy() for variable in original.weights]


def _short_name(variable: Any) -> str:
    return str(variable.name).split(":")[0].split("/")[-1]
