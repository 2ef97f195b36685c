"""Which layers quantization-aware training acts on, for a policy."""

from typing import Any

from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_registry

from paretune.objectives.keras_door import keras, tf
from paretune.objectives.kernels.tfmot_support import trains_activation
from paretune.spaces.policies.policy import Policy, Quantization


def annotated_layers(model: Any, policy: Policy) -> set[str]:
    """Return the layers to annotate: those of ``int8_qat``, and what follows them up to the next weighted layer.

    BatchNorm, activations, pooling and merges are annotated when all their inputs are, so that fake quantization stands
    where the exported file rounds; elsewhere tensors stay float.
    """
    registry = default_8bit_quantize_registry.Default8BitQuantizeRegistry()
    found: set[str] = set()
    for layer in model.layers:
        producers = tf.nest.flatten(layer._inbound_nodes[0].inbound_layers)
        if layer.name in policy:
            wanted = policy[layer.name].quantization is Quantization.INT8_QAT and registry.supports(layer)
        elif not producers or not all(producer.name in found for producer in producers):
            wanted = False
        elif isinstance(layer, keras.layers.BatchNormalization):
            wanted = folds_into(layer)
        else:
            wanted = registry.supports(layer) and trains_activation(layer)
        if wanted:
            found.add(layer.name)
    return found


def folds_into(norm: Any) -> bool:
    """Whether tfmot sees a BatchNorm as part of the layer before it; elsewhere it does not support BatchNorm."""
    producer = tf.nest.flatten(norm._inbound_nodes[0].inbound_layers)[0]
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    is_linear = getattr(producer, "activation", None) is keras.activations.linear
    return isinstance(producer, kinds) and is_linear and len(producer._outbound_nodes) == 1
