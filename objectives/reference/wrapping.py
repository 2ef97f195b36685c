"""Wrap the layers of a model that nobody else uses.

tfmot's wrappers take over the layer objects they are given and change what the source model saves.
"""

from typing import Any

from paretune.objectives.keras_door import keras


def wrap_layers(copy: Any, wrap: Any) -> Any:
    """Return a model in which ``wrap(layer)`` stands for every layer of ``copy``, which must not be used any more."""
    return keras.models.clone_model(copy, clone_function=wrap)
