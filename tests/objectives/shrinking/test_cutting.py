"""Files that lose channels, against smaller Keras models that never had them."""

import numpy as np
import pytest

from paretune.spaces.errors import Infeasible
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization

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
    """Joined channels of two layers, one of them used twice, and the input; resized, and joined positions."""
    layers = keras.layers
    inputs = keras.Input((6, 6, 2), name="pixels")
    twice, other = layers.Conv2D(5, 3, padding="same", activation="relu"), layers.Conv2D(7, 1)
    pooled = layers.MaxPooling2D(3, strides=1, padding="same")(inputs)
    x = layers.Concatenate()([twice(inputs), inputs, layers.BatchNormalization()(other(inputs)), twice(pooled)])
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
            conv(6, 3, padding="same", name="b"),
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


#: The first ones have most kinds of operators; a conversion takes a second or two.
ARCHITECTURES = (
    "vgg",
    "ds_cnn",
    "branches",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "residual",
            "inverted_bottleneck",
            "conv1d",
            "separable",
            "transposed",
            "mlp",
            "dense_per_position",
            "prelu",
            "channels_padded",
        )
    ),
)

FORMATS = (
    Quantization.FLOAT16,
    Quantization.DYNAMIC_INT8,
    Quantization.INT8,
    Quantization.INT16X8,
    Quantization.INT4,
    "mixed",
)


class Cut:
    """A model with channels held at zero, the file of it, the file without them, and the smaller model's own."""

    def __init__(self, model, inputs):
        from paretune.objectives.shrinking.cutting import cut_channels
        from paretune.objectives.templates.conversion import convert
        from paretune.objectives.templates.template import build_template
        from tests.objectives.shrinking.smaller_models import alternating, masked, smaller

        self.inputs, self.kept = inputs, alternating(model)
        self.template = build_template(model)
        self.model = masked(model, self.kept)
        self.full = self.template.fill(self.model)
        self.file = cut_channels(self.template, self.full, self.kept)
        self.small = smaller(self.model, self.kept)
        self.fresh = convert(self.small)

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


@pytest.mark.parametrize("form", FORMATS, ids=str)
@pytest.mark.parametrize("name", ["vgg", "ds_cnn", pytest.param("inverted_bottleneck", marks=pytest.mark.slow)])
def test_a_cut_file_takes_every_number_format(cut, name, form):
    from paretune.objectives.flatbuffer.reader import read_fidelity
    from paretune.objectives.formats.formats import quantize_file

    each = cut(name)
    cycle = (Quantization.INT8, Quantization.FLOAT16, Quantization.DYNAMIC_INT8, Quantization.INT4)
    formats = {
        layer: cycle[number % len(cycle)] if form == "mixed" else form
        for number, (layer, places) in enumerate(each.template.places.items())
        if places[0].operator != "DEPTHWISE_CONV_2D"  # has no int4 form
    }
    exported = quantize_file(each.template, each.file, formats, each.inputs)
    coarse = Quantization.INT4 in formats.values()
    assert_close(each.outputs(exported), each.outputs(each.file), 0.3 if coarse else 0.05)

    policy = Policy(tuple((layer, LayerPolicy(quantization=asked)) for layer, asked in formats.items()))
    specs = [
        LayerSpec(name=layer.name, kind=type(layer).__name__, weight_shape=layer.kernel.shape, weights=1, distinct=1)
        for layer in each.small.layers
        if layer.name in formats
    ]
    fidelity = read_fidelity(each.template, each.file, exported, policy, specs)
    assert [layer.faults for layer in fidelity.layers] == [()] * len(specs)
    assert [layer.weights for layer in fidelity.layers] == [np.prod(spec.weight_shape) for spec in specs]


@pytest.mark.parametrize("shared", ["tensor", "buffer"])
@pytest.mark.parametrize("case", ["one_cut", "cut_differently", "cut_alike"])
def test_constants_that_the_converter_merged_are_cut_for_each_user_apart(cut, shared, case):
    from ai_edge_litert.tools import flatbuffer_utils

    from paretune.objectives.shrinking.cutting import cut_channels

    def biases(model):
        convolutions = model.subgraphs[0].operators[:2]
        return [operator.inputs[2] for operator in convolutions]

    each = cut("vgg")
    model = flatbuffer_utils.read_model_from_bytearray(each.full)
    tensors, (one, other) = model.subgraphs[0].tensors, biases(model)
    model.buffers[tensors[other].buffer].data = None
    if shared == "tensor":
        tensors[other].buffer, model.subgraphs[0].operators[1].inputs[2] = 0, one
    else:
        tensors[other].buffer = tensors[one].buffer
    merged = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    kept = {"a": each.kept["a"]}
    if case != "one_cut":
        kept["b"] = each.kept["b"].copy()
        kept["b"][np.flatnonzero(~kept["b"])[0]] |= case == "cut_differently"
    file = cut_channels(each.template, merged, kept)
    assert_close(each.outputs(file), each.outputs(merged), 1e-6)

    model = flatbuffer_utils.read_model_from_bytearray(file)
    tensors, (one, other) = model.subgraphs[0].tensors, biases(model)
    assert [tensors[one].shape, tensors[other].shape] == [[kept[name].sum() if name in kept else 6] for name in "ab"]
    assert (one == other) == (shared == "tensor" and case == "cut_alike")
    assert (tensors[one].buffer == tensors[other].buffer) == (case == "cut_alike")
    assert len({tensor.name for tensor in tensors}) == len(tensors)
    used = {tensor.buffer for tensor in tensors} | {entry.buffer for entry in model.metadata}
    assert {number for number, buffer in enumerate(model.buffers) if buffer.data is not None} <= used


def test_a_file_that_keeps_all_channels_is_left_alone(cut):
    from paretune.objectives.shrinking.cutting import cut_channels

    each = cut("vgg")
    assert cut_channels(each.template, each.full, {"a": np.ones(6, bool)}) == each.full


def test_channels_that_something_needs_are_refused_by_name(cut):
    from paretune.objectives.shrinking.cutting import cut_channels

    def refused(name, layer, width):
        each = cut(name)
        with pytest.raises(Infeasible) as caught:
            cut_channels(each.template, each.full, {layer: np.arange(width) > 0})
        return str(caught.value)

    assert "layer 'head' cannot be removed: the operator SOFTMAX" in refused("vgg", "head", 4)
    assert "layer 'head' cannot be removed: they are an output of the model" in refused("ds_cnn", "head", 4)
    assert "layer 'depth' cannot be removed" in refused("ds_cnn", "depth", 16)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"nobody": np.ones(6, bool)}, "must name layers with a kernel in the file, got 'nobody'"),
        ({"a": np.ones(5, bool)}, r"each of the 6 channels of layer 'a', .* got shape \(5,\)"),
        ({"a": np.zeros(6, bool)}, "at least one of them true; .* 0 true"),
    ],
)
def test_masks_must_fit_the_layers_of_the_file(cut, kept, message):
    from paretune.objectives.shrinking.cutting import cut_channels

    each = cut("vgg")
    with pytest.raises(ValueError, match=message):
        cut_channels(each.template, each.full, kept)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50"])
def test_whole_networks_are_cut_as_if_they_never_had_the_channels(keras, name):
    keras.utils.set_random_seed(5)
    build = getattr(keras.applications, name)
    # Without the softmax, behind which all differences vanish.
    model = build(input_shape=(64, 64, 3), weights=None, classifier_activation=None)
    generator = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # its fresh variables are zeros and ones
            gamma, beta, mean, variance = (generator.uniform(-0.2, 0.2, layer.gamma.shape) for _ in range(4))
            layer.set_weights([1 + gamma, beta, mean, 1 + variance])
    model.layers[-1].bias.assign(generator.uniform(-0.2, 0.2, 1000))  # a conversion leaves a bias of zeros out
    each = Cut(model, [generator.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)])
    assert outline(each.file) == outline(each.fresh)
    assert len(each.file) < 0.5 * len(each.full)
    assert_close(each.outputs(each.file), each.outputs(each.fresh), 1e-6)
    assert_close(each.outputs(each.file), each.outputs(each.full), 1e-6)
