"""Neighbouring layers are rescaled: the model computes the same, and ranges become alike."""

import numpy as np
import pytest

from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.repairs.equalisation import equalised, joints_of
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization

pytestmark = pytest.mark.tensorflow

layers = keras.layers
INT8 = LayerPolicy(quantization=Quantization.INT8)


def model_of(shape, *chain):
    """Chain layers, with weights unlike those of any fresh model and channels of very different ranges."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    outputs = inputs
    for layer in chain:
        outputs = layer(outputs)
    model = keras.Model(inputs, outputs)
    randomise(model)
    return model


def randomise(model):
    generator = np.random.default_rng(1)
    for variable in model.weights:
        name = variable.name.split("/")[-1].split(":")[0]
        if name in ("gamma", "moving_variance"):
            variable.assign(np.exp(generator.uniform(-2, 2, variable.shape)))
        elif len(variable.shape) == 1:
            variable.assign(generator.normal(0, 0.3, variable.shape))
        else:
            spread = np.exp(generator.uniform(-2, 2, variable.shape[-1]))
            variable.assign(generator.normal(0, 0.3, variable.shape) * spread)


def all_int8(model, **others):
    names = [layer.name for layer in model.layers if any(len(weight.shape) > 1 for weight in layer.weights)]
    return Policy(tuple((name, others.get(name, INT8)) for name in names))


def outputs_of(model, weights):
    inputs = np.random.default_rng(2).normal(size=(8, *model.input_shape[1:])).astype(np.float32)
    return fresh_copy(model, weights)(inputs).numpy()


CHAINS = {
    "BatchNorm and ReLU": (
        (8, 8, 3),
        [
            layers.Conv2D(6, 3, use_bias=False, name="a"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(4, 3, name="b"),
        ],
        [("a", "b")],
    ),
    "BatchNorm without gamma, a bias before it": (
        (8, 8, 3),
        [
            layers.Conv2D(6, 3, name="a"),
            layers.BatchNormalization(scale=False),
            layers.ReLU(),
            layers.Conv2D(4, 3, name="b"),
        ],
        [("a", "b")],
    ),
    "a depthwise convolution between two others": (
        (8, 8, 3),
        [
            layers.Conv2D(6, 1, activation="relu", name="a"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="deep"),
            layers.Conv2D(4, 1, name="b"),
        ],
        [("a", "deep"), ("deep", "b")],
    ),
    "flattened images": (
        (8, 8, 3),
        [
            layers.Conv2D(5, 3, activation="relu", name="a"),
            layers.ZeroPadding2D(),
            layers.MaxPooling2D(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(4, name="b"),
        ],
        [("a", "b")],
    ),
    "PReLU, leaky ReLU and a transposed convolution": (
        (6, 6, 3),
        [
            layers.Conv2DTranspose(5, 3, strides=2, name="a"),
            layers.PReLU(),
            layers.Conv2D(4, 3, name="b"),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(3, 3, name="c"),
        ],
        [("a", "b"), ("b", "c")],
    ),
    "sequences": (
        (9, 3),
        [layers.Conv1D(5, 3, activation="relu", name="a"), layers.GlobalAveragePooling1D(), layers.Dense(4, name="b")],
        [("a", "b")],
    ),
    "a separable convolution": (
        (8, 8, 3),
        [
            layers.Conv2D(4, 3, activation="relu", name="a"),
            layers.SeparableConv2D(5, 3, activation="relu", name="b"),
            layers.Conv2D(3, 1, name="c"),
        ],
        [("a", "b"), ("b", "c")],
    ),
}


@pytest.mark.parametrize("case", CHAINS)
def test_the_model_computes_the_same_and_ranges_become_alike(case):
    shape, chain, expected = CHAINS[case]
    model = model_of(shape, *chain)
    joints = joints_of(model)
    assert [(joint.first, joint.second) for joint in joints] == expected
    before = read_weights(model)
    after = equalised(joints, before, all_int8(model))
    wanted = outputs_of(model, before)
    np.testing.assert_allclose(outputs_of(model, after), wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    for joint in joints:
        assert np.abs(np.log(joint.wanted(before))).max() > 0.5
        assert np.abs(np.log(joint.wanted(after))).max() < 0.05
    for name, arrays in read_weights(model).items():
        for one, other in zip(arrays, before[name], strict=True):
            np.testing.assert_array_equal(one, other, err_msg="the model itself stays as it is")


def convolution(name, **settings):
    return layers.Conv2D(4, 3, padding="same", name=name, **settings)


APART = {
    "a bounded ReLU": [convolution("a"), layers.ReLU(6.0), convolution("b")],
    "another activation": [convolution("a", activation="sigmoid"), convolution("b")],
    "BatchNorm behind the activation": [
        convolution("a", activation="relu"),
        layers.BatchNormalization(),
        convolution("b"),
    ],
    "groups": [convolution("a"), convolution("b", groups=2)],
    "another order of the axes": [convolution("a"), layers.Permute((3, 1, 2)), convolution("b")],
}


@pytest.mark.parametrize("case", APART)
def test_layers_with_something_between_them_that_notices_a_scale_are_left_alone(case):
    assert joints_of(model_of((4, 4, 4), *APART[case])) == ()


def test_a_layer_that_is_read_twice_or_used_twice_or_is_an_output_is_left_alone():
    inputs = keras.Input((6, 6, 4))
    stem = layers.Conv2D(4, 1, name="stem")(inputs)
    branch = layers.Conv2D(4, 1, name="branch")(stem)
    joined = layers.Add()([stem, branch])
    shared = layers.Conv2D(4, 1, name="shared")
    head = layers.Conv2D(2, 1, name="head")
    model = keras.Model(inputs, [head(shared(shared(joined))), branch])
    assert [(joint.first, joint.second) for joint in joints_of(model)] == []


@pytest.mark.parametrize(
    "other",
    [
        LayerPolicy(quantization=Quantization.INT8_QAT),
        LayerPolicy(quantization=Quantization.DYNAMIC_INT8),
        LayerPolicy(quantization=Quantization.INT8, clusters=4),
    ],
    ids=str,
)
def test_only_layers_that_are_int8_untrained_and_unclustered_are_rescaled(other):
    model = model_of((8, 8, 3), *(layers.Conv2D(4, 1, activation="relu", name=name) for name in "abc"))
    before = read_weights(model)
    after = equalised(joints_of(model), before, all_int8(model, c=other))
    assert not np.array_equal(after["a"][0], before["a"][0])
    assert not np.array_equal(after["b"][0], before["b"][0])
    np.testing.assert_array_equal(after["c"][0], before["c"][0])


def test_zeros_stay_zero_and_channels_without_weights_as_they_are():
    model = model_of((8, 8, 3), *(layers.Conv2D(4, 1, activation="relu", name=name) for name in "ab"))
    before = read_weights(model)
    before["a"][0][0, 0, 1:] = 0
    before["a"][0][..., 2] = 0
    before["b"][0][:, :, 3] = 0
    after = equalised(joints_of(model), before, all_int8(model))
    for name in "ab":
        np.testing.assert_array_equal(after[name][0] == 0, before[name][0] == 0)
    assert after["a"][1][2] == before["a"][1][2]
    np.testing.assert_array_equal(after["a"][0][..., 3], before["a"][0][..., 3])
    np.testing.assert_allclose(outputs_of(model, after), outputs_of(model, before), rtol=1e-4, atol=1e-5)


def test_a_bias_beside_hardly_any_weights_does_not_fill_the_range_of_the_activations():
    model = model_of((8, 8, 3), *(layers.Conv2D(4, 1, activation="relu", name=name) for name in "ab"))
    before = read_weights(model)
    before["a"][0][..., 2] *= 1e-6
    before["a"][1][:] = 0.5
    after = equalised(joints_of(model), before, all_int8(model))
    assert after["a"][1][2] < 20 * before["a"][1][2]
