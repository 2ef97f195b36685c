"""Fresh copies of a model, and weights that outlive them.

tfmot's wrappers take over the layer objects they are given and change what the source model saves, so every stage works
on a copy of its own. What passes from stage to stage is plain arrays, by layer name.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.keras_door import keras

#: Weights of every layer that has any: arrays in the layer's own order, by layer name.
LayerWeights = Mapping[str, list[NDArray[np.float32]]]


def fresh_copy(model: Any, weights: LayerWeights) -> Any:
    """Return an unwrapped copy of ``model`` that holds ``weights`` and shares nothing with it."""
    copy = keras.models.clone_model(model)
    write_weights(copy, weights)
    return copy


def read_weights(model: Any) -> dict[str, list[NDArray[np.float32]]]:
    """Return the weights of an unwrapped model, by layer name."""
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def write_weights(model: Any, weights: LayerWeights) -> None:
    """Set the weights of an unwrapped model.

    Raises:
        ValueError: If a layer is missing or a shape differs.
    """
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(weights[layer.name])


def wrap_layers(copy: Any, wrap: Any) -> Any:
    """Return a model in which ``wrap(layer)`` stands for every layer of ``copy``, which must not be used any more."""
    return keras.models.clone_model(copy, clone_function=wrap)
