"""Models whose inputs take any length."""

import numpy as np
import pytest

from paretune.objectives.data.dataset import Dataset, Samples
from paretune.objectives.keras_door import keras
from paretune.objectives.working_copy.fixed_shapes import with_fixed_shapes
from paretune.spaces.errors import DataError, ModelRefused

pytestmark = pytest.mark.tensorflow


def samples_of(*shape):
    return Samples((np.random.default_rng(0).normal(size=shape).astype(np.float32),), (np.zeros(shape[0]),))


def data_of(length, test_length=None):
    train, test = samples_of(6, length, 3), samples_of(4, test_length or length, 3)
    return Dataset(train=train, validation=train, test=test)


def reader(*after):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((None, 3), name="steps")
    outputs = keras.layers.Conv1D(4, 2)(inputs)
    for layer in after:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def test_an_input_of_any_length_gets_that_of_the_data_and_computes_the_same():
    model, data = reader(keras.layers.LSTM(5)), data_of(7)
    fixed, notes = with_fixed_shapes(model, data)
    assert fixed.input_shape == (None, 7, 3)
    assert fixed.input_names == ["steps"]
    np.testing.assert_allclose(fixed(data.train.inputs[0]), model(data.train.inputs[0]), atol=1e-6)
    assert notes == ("Input 'steps' takes any length; files are made for that of the data, (7, 3).",)


def test_a_model_of_known_shapes_is_returned_as_it_is():
    model = keras.Sequential([keras.Input((7, 3)), keras.layers.Flatten()])
    assert with_fixed_shapes(model, data_of(7)) == (model, ())


def test_splits_of_other_lengths_are_refused():
    with pytest.raises(DataError, match=r"x_train has \(7, 3\), x_test has \(9, 3\); pad or cut the rows"):
        with_fixed_shapes(reader(), data_of(7, 9))


def test_data_too_short_for_the_model_is_refused():
    with pytest.raises(ModelRefused, match="cannot take the shape of the data"):
        with_fixed_shapes(reader(), data_of(1))
