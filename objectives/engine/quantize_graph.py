"""Quantization-aware training with its places, and what it keeps, in variables."""

from collections.abc import Mapping
from typing import Any

from tensorflow_model_optimization.python.core.quantization.keras import quantizers
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_registry,
    default_8bit_quantizers,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

from paretune.objectives.engine.centroids import Centroids
from paretune.objectives.engine.hold import Hold
from paretune.objectives.engine.numerics import Numerics
from paretune.objectives.engine.placement import Place, places_of, switched_on
from paretune.objectives.engine.wrapping import MaskThrough, position, read_variables, wrapped_model
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.kernels.cluster_lines import channel_axis
from paretune.objectives.kernels.weights import LayerWeights, compressed_variables
from paretune.objectives.pipeline.annotation import annotated_layers
from paretune.objectives.pipeline.centroid_start import present_centroids
from paretune.objectives.pipeline.copies import fresh_layer
from paretune.objectives.pipeline.stages import StageTask
from paretune.spaces.policies.decompositions import CHANNELS
from paretune.spaces.policies.policy import LayerPolicy


class QuantizeGraph:
    """Implements :class:`paretune.objectives.engine.graph.StageGraph` for quantization-aware training.

    Zeros and clusters of layers that are trained quantized are kept inside the forward pass, as in tfmot's PCQAT; all
    other layers are held to theirs after each step.
    """

    def __init__(self, model: Any, numerics: Numerics, places: int, scope: str, decomposition: str = CHANNELS) -> None:
        """Wrap a copy of every layer of ``model`` behind which the file may round.

        Args:
            model: The working copy of the user's model; it is only read.
            numerics: How to compute.
            places: The largest cluster count.
            scope: What shares one set of clusters: the whole ``tensor`` or a ``channel``.
            decomposition: How ranks split kernels.
        """
        self._source = model
        self._axes = {layer.name: channel_axis(type(layer).__name__, scope) for layer in model.layers}
        self._wrapped: dict[str, _Quantized] = {}
        self._inputs: dict[str, _Switch] = {}
        spots = places_of(model)

        def wrap(layer: Any) -> Any:
            copy = fresh_layer(layer)
            if layer.name not in spots:
                return copy
            axis = self._axes[layer.name]
            self._wrapped[layer.name] = _Quantized(copy, spots[layer.name], numerics, places, axis)
            return self._wrapped[layer.name]

        def enter(name: str, tensor: Any) -> Any:
            if not tensor.dtype.is_floating:
                return tensor
            switch = self._inputs[name] = _Switch()
            return QuantizeLayer(_InputQuantizer(switch), name=f"quantize_{name}")(tensor)

        self.model, self.variables = wrapped_model(model, wrap, enter)
        self._compressed = {
            layer.name: [position(layer, variable) for variable in compressed_variables(layer)]
            for layer in model.layers
            if layer.weights
        }
        self._holds = {
            name: [Hold(self.variables[name][index], places, self._axes[name], decomposition) for index in indices]
            for name, indices in self._compressed.items()
        }

    def decide(self, task: StageTask, weights: LayerWeights) -> None:
        """Switch fake quantization on where the policy trains for it, and set what every layer must keep."""
        annotated = annotated_layers(self._source, task.policy)
        behind = switched_on(self._source, annotated)
        for name, switch in self._inputs.items():
            switch.set(name in behind)
        for name, layer in self._wrapped.items():
            layer.switch.set(name in behind)
            layer.weight_switch.set(name in annotated)
        for name, indices in self._compressed.items():
            decided = task.policy.get(name, LayerPolicy())
            wrapped = self._wrapped.get(name)
            for index, hold in zip(indices, self._holds[name], strict=True):
                values = weights[name][index]
                is_inside = wrapped is not None and name in annotated
                hold.release()
                if wrapped is not None and wrapped.centroids is not None:
                    _keep_inside(wrapped.centroids, task if is_inside else None, name, values, self._axes[name])
                if not is_inside and decided.clusters is not None:
                    hold.hold_clusters(values)
                elif not is_inside:
                    hold.hold_shape(task, name, values)

    def after_step(self) -> None:
        """Hold the layers that are not trained quantized to their zeros, clusters and ranks."""
        for holds in self._holds.values():
            for hold in holds:
                hold.project()

    def effective(self) -> Mapping[str, list[Any]]:
        """Return the weights before fake quantization, clustered with the centroids as they are now."""
        centroids = {
            layer.kernel.ref(): layer.centroids for layer in self._wrapped.values() if layer.centroids is not None
        }
        return read_variables(
            self.variables, lambda each: centroids[each.ref()].apply(each) if each.ref() in centroids else each
        )


def _keep_inside(centroids: Centroids, task: StageTask | None, name: str, values: Any, axis: int | None) -> None:
    """Keep what the layer of this name has achieved so far; nothing, where there is no task for it."""
    decided = LayerPolicy() if task is None else task.policy.get(name, LayerPolicy())
    keeps_zeros = task is not None and task.keeps_zeros(name) and not values.all()
    mask = values != 0 if keeps_zeros else None
    zero_stays = keeps_zeros and decided.sparsity > 0
    present = None
    if decided.clusters is not None:
        present = present_centroids(values, axis, with_zero=zero_stays or not keeps_zeros)
    if present is None or present.shape[-1] <= 1:
        centroids.stop(mask)
    else:
        centroids.start(present, mask, zero_stays=zero_stays)


class _Switch:
    """Variables that turn fake quantization on and off together."""

    def __init__(self) -> None:
        self._variables: list[Any] = []

    def add_to(self, owner: Any, name: str) -> Any:
        variable = owner.add_weight(f"{name}_is_on", shape=(), dtype=tf.bool, trainable=False)
        self._variables.append(variable)
        return variable

    def set(self, is_on: bool) -> None:
        for variable in self._variables:
            variable.assign(is_on)


class _Switched:
    """A quantizer of tfmot's that a switch turns off: values then pass through, and no range is observed."""

    def __init__(self, switch: _Switch, **settings: Any) -> None:
        super().__init__(**settings)
        self._switch = switch

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        ranges: dict[str, Any] = super().build(tensor_shape, name, layer)  # type: ignore[misc]  # mixed into tfmot's
        return {**ranges, "is_on": self._switch.add_to(layer, name)}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        quantize = super().__call__  # type: ignore[misc]  # mixed into tfmot's
        return tf.cond(
            weights["is_on"],
            lambda: quantize(inputs, training, weights=weights, **kwargs),
            lambda: tf.identity(inputs),
        )


class _InputQuantizer(_Switched, quantizers.AllValuesQuantizer):  # type: ignore[misc]  # tfmot is untyped
    def __init__(self, switch: _Switch) -> None:
        super().__init__(switch, num_bits=8, per_axis=False, symmetric=False, narrow_range=False)


class _ActivationQuantizer(_Switched, quantizers.MovingAverageQuantizer):  # type: ignore[misc]  # tfmot is untyped
    def __init__(self, switch: _Switch) -> None:
        super().__init__(switch, num_bits=8, per_axis=False, symmetric=False, narrow_range=False)


class _KeepingWeights:
    """Clusters and masks weights before they are fake-quantized."""

    def __init__(self, switch: _Switch, numerics: Numerics, places: int, axis: int | None, **settings: Any) -> None:
        super().__init__(switch, **settings)  # type: ignore[call-arg]  # mixed into a quantizer
        self._numerics = numerics
        self._places = places
        self._axis = axis
        self.centroids: Centroids | None = None

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        self.centroids = Centroids(layer, name, tensor_shape, self._places, self._numerics, self._axis)
        return super().build(tensor_shape, name, layer)  # type: ignore[misc,no-any-return]  # mixed into a quantizer

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        kept = inputs if self.centroids is None else self.centroids.apply(inputs)
        return super().__call__(kept, training, weights, **kwargs)  # type: ignore[misc]  # mixed into a quantizer


class _DenseWeights(_KeepingWeights, _Switched, quantizers.LastValueQuantizer):  # type: ignore[misc]  # untyped
    def __init__(self, switch: _Switch, numerics: Numerics, places: int, axis: int | None) -> None:
        super().__init__(switch, numerics, places, axis, num_bits=8, per_axis=False, symmetric=True, narrow_range=True)


class _ConvolutionWeights(
    _KeepingWeights,
    _Switched,
    default_8bit_quantizers.Default8BitConvWeightsQuantizer,  # type: ignore[misc]  # tfmot is untyped
):
    pass


class _Quantized(MaskThrough, QuantizeWrapperV2):  # type: ignore[misc]  # tfmot is untyped
    """tfmot's wrapper around a layer, with the quantizers of its place."""

    def __init__(self, layer: Any, place: Place, numerics: Numerics, places: int, axis: int | None) -> None:
        self.switch = _Switch()
        self.weight_switch = _Switch()
        is_convolution = isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        kind = _ConvolutionWeights if is_convolution else _DenseWeights
        self._weight_quantizer = kind(self.weight_switch, numerics, places, axis)
        config = default_8bit_quantize_registry.Default8BitQuantizeConfig(
            list(place.weights), ["activation"] if place.activation else [], place.output
        )
        config.weight_quantizer = self._weight_quantizer
        config.activation_quantizer = _ActivationQuantizer(self.switch)
        super().__init__(layer, config)

    @property
    def centroids(self) -> Centroids | None:
        return self._weight_quantizer.centroids

    @property
    def kernel(self) -> Any:
        """The variable that the quantizer of weights acts on."""
        return self._weight_vars[0][0]
