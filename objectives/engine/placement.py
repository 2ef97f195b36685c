"""Where fake quantization stands: behind what the exported file computes as one operator.

These are the places that tfmot's 8-bit layout transform chooses: not between a convolution and the BatchNorm that folds
into it, nor before a ReLU that is fused. They are decided once for the whole model; which of them a policy switches on
follows from the layers that it annotates.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (
    Default8BitQuantizeRegistry,
)

from paretune.objectives.data.signature import consumers
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.kernels.tfmot_support import is_relu, trains_activation
from paretune.objectives.kernels.weights import compressed_variables
from paretune.objectives.pipeline.annotation import folds_into


@dataclass(frozen=True, slots=True)
class Place:
    """What can be fake-quantized at a layer.

    Attributes:
        weights: Names of its attributes that hold kernels.
        activation: Whether its activation function is one place with what it follows.
        output: Whether its output is.
    """

    weights: tuple[str, ...] = ()
    activation: bool = False
    output: bool = False


def places_of(model: Any) -> dict[str, Place]:
    """Return what can be fake-quantized, by layer name; layers at which nothing can are left out."""
    registry = Default8BitQuantizeRegistry()
    found = {layer.name: _place(layer, model, registry) for layer in model.layers}
    return {name: place for name, place in found.items() if place != Place()}


def switched_on(model: Any, annotated: Set[str]) -> set[str]:
    """Return the layers behind which fake quantization is on, given those that are trained quantized.

    These, and a layer (or model input) that is the only one to feed one of them: an integer operator rounds its input.
    """
    found = set(annotated)
    for layer in model.layers:
        if layer.name in annotated:
            producers = tf.nest.flatten(layer._inbound_nodes[0].inbound_layers)
            found |= {
                producer.name
                for producer in producers
                if len(producers) == 1 or isinstance(producer, keras.layers.InputLayer)
            }
    return found


def _place(layer: Any, model: Any, registry: Any) -> Place:
    if isinstance(layer, keras.layers.InputLayer):
        return Place(output=True)
    if len(layer.inbound_nodes) != 1:
        return Place()
    readers = consumers(layer.output, model) if layer.name not in model.output_names else []
    is_fused = len(readers) == 1 and is_relu(readers[0])
    if isinstance(layer, keras.layers.BatchNormalization):
        return Place(output=folds_into(layer) and not is_fused)
    if not registry.supports(layer) or not trains_activation(layer):
        return Place()
    config = registry.get_quantize_config(layer)
    if compressed_variables(layer) or isinstance(layer, keras.layers.DepthwiseConv2D):
        is_folded = len(readers) == 1 and _is_norm(readers[0]) and folds_into(readers[0])
        return Place(weights=tuple(config.weight_attrs), activation=not is_folded and not is_fused)
    return Place(output=bool(config.get_output_quantizers(layer)) and not is_fused)


def _is_norm(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)
