"""Fresh copies of a model, and weights that outlive them.

tfmot's wrappers take over the layer objects they are given and change what the source model saves, so every stage works
on a copy of its own. What passes from stage to stage is plain arrays, by layer name.
"""

from typing import Any

from paretune.objectives.keras_door import keras
from paretune.objectives.weights import LayerWeights, write_weights


def fresh_copy(model: Any, weights: LayerWeights) -> Any:
    """Return an unwrapped copy of ``model`` that holds ``weights`` and shares nothing with it."""
    copy = keras.models.clone_model(model)
    write_weights(copy, weights)
    return copy


def wrap_layers(copy: Any, wrap: Any) -> Any:
    """Return a model in which ``wrap(layer)`` stands for every layer of ``copy``, which must not be used any more."""
    return keras.models.clone_model(copy, clone_function=wrap)
