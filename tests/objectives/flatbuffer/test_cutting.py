"""Files that lose channels, against smaller Keras models that never had them."""

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def keras():
    from paretune.objectives.keras_door import keras

    return keras


def residual(keras, randomised):
    """A strided shortcut, one that is the input itself, and a norm behind the addition."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", use_bias=False)(inputs)))
    for strides, filters in ((1, 6), (2, 8)):
        y = layers.Conv2D(10, 3, strides=strides, padding="same")(x)
        y = layers.Conv2D(filters, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(y)))
        shortcut = layers.Conv2D(filters, 1, strides=2)(x) if strides == 2 else x
        x = layers.BatchNormalization()(layers.Add()([layers.BatchNormalization()(y), shortcut]))
        x = layers.ReLU()(x)
    return randomised(keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))), seed=3)


def inverted_bottleneck(keras, randomised):
    """MobileNetV2's block: expanded, filtered by depth, projected, added; with squeeze and excitation."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(6, 3, strides=2, padding="same")(inputs)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(12, 1, use_bias=False)(x)))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    squeezed = layers.Conv2D(5, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    y = layers.Multiply()([y, layers.Conv2D(12, 1, activation="hard_sigmoid")(squeezed)])
    x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(6, 1, use_bias=False)(y))])
    return randomised(keras.Model(inputs, layers.Dense(4)(layers.GlobalMaxPooling2D()(x))), seed=3)


def branches(keras, randomised):
    """Joined channels of two layers and the input, resized, and joined positions."""
    layers = keras.layers
    inputs = keras.Input((6, 6, 2), name="pixels")
    one = layers.Conv2D(5, 3, padding="same", activation="relu")(inputs)
    other = layers.Conv2D(7, 1)(inputs)
    x = layers.Concatenate()([one, inputs, layers.BatchNormalization()(other)])
    x = layers.Concatenate(axis=1)([layers.UpSampling2D()(x), layers.UpSampling2D(interpolation="bilinear")(x)])
    x = layers.Cropping2D(1)(layers.MaxPooling2D()(layers.ZeroPadding2D(2)(x)))
    return randomised(keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x))), seed=3)


def models(keras, sequence_of, randomised):
    layers = keras.layers
    conv, dense, norm, relu = layers.Conv2D, layers.Dense, layers.BatchNormalization, layers.ReLU
    return {
        "vgg": lambda: sequence_of(
            (8, 8, 3),
            conv(6, 3, padding="same", activation="relu", name="a"),
            conv(5, 3, padding="same", name="b"),
            norm(),
            relu(),
            layers.MaxPooling2D(),
            layers.Dropout(0.5),
            layers.Flatten(),
            dense(9, "relu", name="c"),
            dense(4, "softmax", name="head"),
        ),
        "residual": lambda: residual(keras, randomised),
        "inverted_bottleneck": lambda: inverted_bottleneck(keras, randomised),
        "ds_cnn": lambda: sequence_of(
            (12, 10, 1),
            conv(8, (5, 3), strides=2, padding="same", use_bias=False, name="a"),
            norm(),
            relu(),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depth"),
            norm(),
            relu(),
            conv(6, 1, name="point"),
            norm(),
            relu(),
            layers.AveragePooling2D((6, 5)),
            layers.Flatten(),
            dense(4, name="head"),
        ),
        "branches": lambda: branches(keras, randomised),
        "conv1d": lambda: sequence_of(
            (16, 3),
            layers.Conv1D(6, 3, padding="causal", activation="relu", name="a"),
            layers.MaxPooling1D(2),
            layers.Conv1D(5, 3, dilation_rate=2, name="b"),
            norm(),
            relu(),
            layers.GlobalAveragePooling1D(),
            dense(4, name="head"),
        ),
        "separable": lambda: sequence_of(
            (8, 8, 3),
            layers.SeparableConv2D(6, 3, depth_multiplier=2, activation="relu", name="a"),
            layers.SeparableConv2D(5, 3, name="b"),
            norm(),
            layers.LeakyReLU(),
            layers.Flatten(),
            dense(4, name="head"),
        ),
        "transposed": lambda: sequence_of(
            (4, 4, 3),
            layers.Conv2DTranspose(6, 3, strides=2, activation="relu", name="a"),
            layers.Conv2DTranspose(5, 2, strides=2, padding="same", name="b"),
            norm(),
            relu(),
            conv(2, 1, name="head"),
        ),
        "mlp": lambda: sequence_of(
            (9,), dense(8, "tanh", name="a"), norm(), dense(7, "sigmoid", name="b"), dense(4, name="head")
        ),
        "dense_per_position": lambda: sequence_of(
            (5, 6), dense(8, "gelu", name="a"), dense(7, name="b"), layers.Flatten(), dense(4, name="head")
        ),
        "prelu": lambda: sequence_of(
            (6, 6, 3),
            conv(6, 3, name="a"),
            layers.PReLU(shared_axes=(1, 2)),
            conv(5, 3, name="b"),
            layers.PReLU(),
            layers.Permute((3, 1, 2)),
            layers.Permute((2, 3, 1)),
            layers.Reshape((4, -1)),
            dense(4, name="head"),
        ),
        "channels_padded": lambda: sequence_of(
            (6, 6, 3),
            conv(6, 3, name="a"),
            layers.ZeroPadding2D(((0, 0), (1, 2)), data_format="channels_first"),
            conv(4, 1, name="head"),
        ),
    }


ARCHITECTURES = (
    "vgg",
    "residual",
    "inverted_bottleneck",
    "ds_cnn",
    "branches",
    "conv1d",
    "separable",
    "transposed",
    "mlp",
    "dense_per_position",
    "prelu",
    "channels_padded",
)


class Cut:
    """A model with channels held at zero, the file of it, the file without them, and the smaller model's own."""

    def __init__(self, model, inputs):
        from paretune.objectives.flatbuffer.conversion import convert
        from paretune.objectives.flatbuffer.cutting import cut_channels
        from paretune.objectives.flatbuffer.template import build_template
        from tests.objectives.flatbuffer.smaller_models import alternating, masked, smaller

        self.inputs, self.kept = inputs, alternating(model)
        self.template = build_template(model)
        self.model = masked(model, self.kept)
        self.full = self.template.fill(self.model)
        self.file = cut_channels(self.template, self.full, self.kept)
        self.fresh = convert(smaller(self.model, self.kept))

    def outputs(self, file):
        from paretune.objectives.measure.interpreter import TfliteRunner

        return TfliteRunner(file, self.template.input_names, self.template.output_names).predict(self.inputs)[0]


@pytest.fixture(scope="module")
def cut(keras, sequence_of, randomised, inputs_of):
    """Return the files of an architecture, made once."""
    made = {}

    def get(name):
        if name not in made:
            model = models(keras, sequence_of, randomised)[name]()
            made[name] = Cut(model, inputs_of(model))
        return made[name]

    return get


def outline(file):
    """Return kind and shapes of every operator."""
    from paretune.objectives.flatbuffer.graph import read_graph

    graph = read_graph(file)
    return [
        (
            operator.kind,
            [graph.named(operator, number).shape for number in operator.inputs if number >= 0],
            [graph.named(operator, number).shape for number in operator.outputs],
        )
        for operator in graph.operators
    ]


def assert_close(found, expected, relative):
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= relative * np.abs(expected).max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_cut_file_is_that_of_the_model_that_never_had_the_channels(cut, name):
    each = cut(name)
    assert outline(each.file) == outline(each.fresh)
    assert outline(each.file) != outline(each.full)
    assert_close(each.outputs(each.file), each.outputs(each.fresh), 1e-6)
    assert_close(each.outputs(each.file), each.model(each.inputs[0], training=False).numpy(), 1e-5)
