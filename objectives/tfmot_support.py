"""What tfmot's quantization-aware training knows, beyond what its registries tell."""

from typing import Any

from tensorflow_model_optimization.python.core.quantization.keras.quantize_aware_activation import (
    QuantizeAwareActivation,
)

from paretune.objectives.keras_door import keras


def trains_activation(layer: Any) -> bool:
    """Whether tfmot can fake-quantize behind the activation of ``layer``; its registries accept any and fail later."""
    name = activation_name(layer)
    known = QuantizeAwareActivation._PRE_QUANT_ACTIVATIONS | QuantizeAwareActivation._POST_QUANT_ACTIVATIONS
    return name == "" or name in known


def activation_name(layer: Any) -> str:
    """Return the name of a layer's activation function, or an empty string where it has none."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return ""
    return str(getattr(activation, "__name__", type(activation).__name__))


def is_relu(layer: Any) -> bool:
    """Whether tfmot takes this layer for a ReLU that belongs to the operator before it.

    Behind a layer with weights it then puts fake quantization behind the ReLU only, and leaves the weights out.
    """
    is_activation = isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu
    return is_activation or isinstance(layer, keras.layers.ReLU)
