"""Recurrent layers behind each other compute in a file what they compute in Keras."""

import numpy as np
import pytest

from paretune.objectives.keras_door import keras
from paretune.objectives.measure.interpreter import TfliteRunner
from paretune.objectives.templates.conversion import convert
from paretune.objectives.templates.states import with_own_states

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("behind", ["GRU", "LSTM"])
def test_a_recurrent_layer_behind_an_lstm_of_its_size_starts_from_zeros(behind):
    """The converter lets a GRU start from the state that the LSTM ended in; of two LSTMs, each has its own."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 4))
    x = keras.layers.LSTM(5, return_sequences=True)(inputs)
    model = keras.Model(inputs, getattr(keras.layers, behind)(5)(x))
    samples = np.random.default_rng(0).normal(size=(4, 6, 4)).astype(np.float32)
    file = convert(model)
    np.testing.assert_allclose(TfliteRunner(file).predict([samples])[0], model(samples), atol=1e-6)
    assert with_own_states(file) == file
