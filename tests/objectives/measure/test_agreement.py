"""A file that does not compute what its Keras model computes is refused."""

import numpy as np
import pytest

from paretune.objectives.keras_door import keras
from paretune.objectives.measure.agreement import require_faithful_file
from paretune.objectives.templates.template import build_template
from paretune.spaces.errors import ModelRefused

pytestmark = pytest.mark.tensorflow


def test_a_file_that_computes_something_else_than_its_model_is_refused_in_one_line():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="numbers")
    x = keras.layers.Dense(5, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(3, name="left")(x), keras.layers.Dense(2, name="right")(x)])
    samples = [np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)]
    template = build_template(model)
    file = template.fill(model)
    require_faithful_file(template, file, model, samples)
    kernel, bias = model.get_layer("right").get_weights()
    model.get_layer("right").set_weights([kernel * 1.01, bias])
    with pytest.raises(ModelRefused, match=r"computes, but its output 'right' is off by 0\.99%: .*, or unroll it\.$"):
        require_faithful_file(template, file, model, samples)
