"""Biases of channels without weights, through integer formats."""

import numpy as np
import pytest

from paretune.spaces.policies.policy import Quantization

pytestmark = pytest.mark.tensorflow


def exported_outputs(model, form, inputs):
    from paretune.objectives.formats.formats import quantize_file
    from paretune.objectives.measure.interpreter import TfliteRunner
    from paretune.objectives.templates.template import build_template

    template = build_template(model)
    file = quantize_file(template, template.fill(model), dict.fromkeys(template.places, form), inputs)
    return TfliteRunner(file).predict(inputs)[0]


@pytest.fixture(scope="module")
def layers():
    from paretune.objectives.keras_door import keras

    return keras.layers


@pytest.mark.parametrize("form", [Quantization.INT8, Quantization.INT16X8])
def test_bias_of_a_convolution_channel_without_weights_survives(layers, sequence_of, inputs_of, form):
    model = sequence_of((6, 6, 3), layers.Conv2D(4, 3, name="conv"))
    kernel, bias = model.get_layer("conv").get_weights()
    kernel[..., 1] = 0
    kernel[..., 2] = 0
    kernel[0, 0, 0, 2] = 1e-9  # so small that the bias does not fit its scale either
    bias[1], bias[2] = 0.5, -0.75
    model.get_layer("conv").set_weights([kernel, bias])
    inputs = inputs_of(model)
    found = exported_outputs(model, form, inputs)
    expected = model(inputs[0]).numpy()
    step = (expected.max() - expected.min()) / 255
    assert np.abs(found[..., 1] - 0.5).max() <= step
    assert np.abs(found[..., 2] + 0.75).max() <= step
    assert np.abs(found - expected).max() <= 4 * step, "the other channels stay as they were"


@pytest.mark.parametrize("form", [Quantization.INT8, Quantization.INT16X8])
def test_biases_of_a_dense_layer_without_any_weight_survive(layers, sequence_of, inputs_of, form):
    model = sequence_of((6,), layers.Dense(3, name="dense"))
    model.get_layer("dense").set_weights([np.zeros((6, 3)), np.array([0.5, -1.0, 0.25])])
    found = exported_outputs(model, form, inputs_of(model))
    assert np.abs(found - [0.5, -1.0, 0.25]).max() <= 0.01


def test_biases_that_are_large_beside_tiny_weights_survive_sixteen_bit_activations(layers, sequence_of, inputs_of):
    model = sequence_of((6,), layers.Dense(5, name="dense"))
    kernel, bias = model.get_layer("dense").get_weights()
    model.get_layer("dense").set_weights([kernel * 1e-4, bias])
    inputs = [inputs_of(model)[0] / 5]
    found = exported_outputs(model, Quantization.INT16X8, inputs)
    assert np.abs(found - model(inputs[0]).numpy()).max() <= 0.01


def test_a_file_without_lost_biases_is_left_alone(layers, sequence_of, inputs_of):
    from paretune.objectives.flatbuffer.graph import read_graph
    from paretune.objectives.formats.calibration import activation_ranges
    from paretune.objectives.formats.recipes import apply_recipe, make_recipe
    from paretune.objectives.formats.zero_channels import mend_lost_biases
    from paretune.objectives.templates.template import build_template

    model = sequence_of((6, 6, 3), layers.Conv2D(4, 3, name="conv"))
    template = build_template(model)
    file = template.fill(model)
    recipe = make_recipe(read_graph(file), template.places, {"conv": Quantization.INT8})
    quantized = apply_recipe(file, recipe, activation_ranges(file, template.input_names, inputs_of(model)))
    assert mend_lost_biases(file, quantized) == quantized
