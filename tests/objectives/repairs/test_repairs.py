"""What equalisation and bias correction win back in files whose numbers were rounded without training."""

from functools import cache

import numpy as np
import pytest

from paretune.objectives.formats.formats import quantize_file
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.measure.interpreter import TfliteRunner
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.repairs.bias_correction import correct_biases
from paretune.objectives.repairs.equalisation import equalised, joints_of
from paretune.objectives.templates.template import build_template
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization
from tests.objectives.conftest import with_random_weights

pytestmark = pytest.mark.tensorflow

layers = keras.layers
INT8, INT4, DYNAMIC = Quantization.INT8, Quantization.INT4, Quantization.DYNAMIC_INT8


@cache
def kinds():
    """One layer of each kind and way of moving over its input, side by side."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 10, 4), name="pixels")
    outputs = [
        layers.Conv2D(6, 3, strides=2, padding="same", name="strided")(inputs),
        layers.Conv2D(6, (3, 2), dilation_rate=2, activation="relu", name="dilated")(inputs),
        layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, name="depthwise")(inputs),
        layers.Conv2DTranspose(5, 3, strides=2, padding="same", name="transposed")(inputs),
        layers.Conv2DTranspose(5, 4, strides=2, padding="valid", name="spread")(inputs),
        layers.Dense(7, name="dense")(layers.Flatten(name="flat")(inputs)),
    ]
    model = with_random_weights(keras.Model(inputs, outputs), seed=3)
    return model, build_template(model)


def images(samples=64):
    """Return images whose mean is not zero, and differs by place and channel."""
    generator = np.random.default_rng(4)
    return (generator.uniform(0, 1, (samples, 9, 10, 4)) * generator.uniform(0, 2, (9, 10, 4))).astype(np.float32)


def mean_errors(template, model, file, inputs):
    """Return for each output how far its channels are off on average, the largest of them."""
    found = TfliteRunner(file, template.input_names, template.output_names).predict([inputs])
    expected = model(inputs)
    axes = [tuple(range(each.ndim - 1)) for each in found]
    pairs = zip(found, expected, axes, strict=True)
    return [float(np.abs((one - other.numpy()).mean(axis=axis)).max()) for one, other, axis in pairs]


@pytest.mark.parametrize("form", [INT8, INT4, DYNAMIC])
def test_the_mean_output_of_every_kind_of_layer_is_kept(form):
    model, template = kinds()
    inputs = images()
    skipped = ("depthwise", "transposed", "spread") if form is INT4 else ()
    formats = {name: form for name in template.places if name not in skipped}
    float_file = template.fill(model)
    rounded = quantize_file(template, float_file, formats, [inputs])
    corrected = correct_biases(template, float_file, rounded, formats, [inputs])
    before, after = (mean_errors(template, model, file, inputs) for file in (rounded, corrected))
    for name, one, other in zip(model.output_names, before, after, strict=True):
        if name in formats:
            assert other < 0.4 * one, name
    assert len(corrected) == len(rounded)


def test_layers_that_were_trained_for_their_rounding_keep_their_biases():
    model, template = kinds()
    inputs = images(8)
    float_file = template.fill(model)
    formats = {"strided": Quantization.INT8_QAT, "dense": Quantization.FLOAT16}
    rounded = quantize_file(template, float_file, formats, [inputs])
    assert correct_biases(template, float_file, rounded, formats, [inputs]) == rounded


def test_equalisation_wins_back_what_unequal_channels_lose_in_int8():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(8, 3, use_bias=False, name="first")(inputs)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, activation="relu", name="deep")(x)
    model = keras.Model(inputs, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D(name="pool")(x)))
    samples = np.random.default_rng(5).normal(size=(64, 8, 8, 3)).astype(np.float32)
    expected = model(samples).numpy()
    joints, template = joints_of(model), build_template(model)
    unequal = {name: list(arrays) for name, arrays in read_weights(model).items()}
    for joint in joints:
        joint.apply(np.exp(np.random.default_rng(6).uniform(-3, 3, 8)), unequal)
    names = ("first", "deep", "head")
    policy = Policy(tuple((name, LayerPolicy(quantization=INT8)) for name in names))

    def squared_error(weights):
        float_file = template.fill(fresh_copy(model, weights))
        file = quantize_file(template, float_file, dict.fromkeys(names, INT8), [samples])
        found = TfliteRunner(file, template.input_names, template.output_names).predict([samples])[0]
        return np.mean(np.square(found - expected))

    as_they_are, repaired = squared_error(unequal), squared_error(equalised(joints, unequal, policy))
    assert repaired < 0.05 * as_they_are
