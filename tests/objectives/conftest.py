"""Tiny seeded Keras models, and what every test does with them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def sequence_of() -> Callable[..., Any]:
    """Return a function that chains layers into a functional model with random weights."""

    def build(shape: tuple[int, ...], *layers: Any) -> Any:
        from paretune.objectives.keras_door import keras

        inputs = keras.Input(shape, name="pixels")
        outputs = inputs
        for layer in layers:
            outputs = layer(outputs)
        return with_random_weights(keras.Model(inputs, outputs, name="small"), seed=7)

    return build


@pytest.fixture(scope="session")
def randomised() -> Callable[..., Any]:
    """Return :func:`with_random_weights`."""
    return with_random_weights


def with_random_weights(model: Any, seed: int) -> Any:
    """Give a model weights unlike those of any fresh one, and return it."""
    generator = np.random.default_rng(seed)
    for variable in model.trainable_weights + [each for each in model.weights if "moving_" in each.name]:
        low = -0.5 if len(variable.shape) > 1 else 0.2
        variable.assign(generator.uniform(low, low + 1, variable.shape))
    return model


@pytest.fixture(scope="session")
def inputs_of() -> Callable[..., list[np.ndarray]]:
    """Return a function that makes random inputs for a model; small whole numbers fit embeddings too."""

    def draw(model: Any, samples: int = 24) -> list[np.ndarray]:
        generator = np.random.default_rng(3)
        return [
            generator.integers(0, 5, (samples, *tensor.shape[1:])).astype(tensor.dtype.as_numpy_dtype)
            for tensor in model.inputs
        ]

    return draw
