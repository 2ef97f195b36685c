"""Copies of models and layers: whoever wraps or changes one works on its own."""

from typing import Any

from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.einsum import build_projections
from paretune.objectives.kernels.weights import LayerWeights, write_weights


def fresh_copy(model: Any, weights: LayerWeights) -> Any:
    """Return an unwrapped copy of ``model`` that holds ``weights`` and shares nothing with it."""
    copy = keras.models.clone_model(model)
    write_weights(copy, weights)
    return copy


def fresh_layer(layer: Any) -> Any:
    """Return an unbuilt layer of the same settings; of attention, one that has its variables.

    Keras makes the variables of attention when it is first called; tfmot looks for them before.
    """
    copy = type(layer).from_config(layer.get_config())
    if isinstance(copy, keras.layers.MultiHeadAttention):
        build_projections(copy)
    return copy
