"""Weights written into a converted file, against a fresh conversion."""

import pickle

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def keras():
    from paretune.objectives.keras_door import keras

    return keras


def outputs(file, model, inputs):
    from paretune.objectives.measure.interpreter import TfliteRunner
    from paretune.objectives.templates.conversion import signature_names

    names = signature_names(model)
    return TfliteRunner(file, names.inputs, names.outputs).predict(inputs)


def models(keras, sequence_of):
    """Return an architecture by name, each with the fold, slice or transposition that it is there for."""
    layers = keras.layers

    def hard_swish(x):  # a 3 is folded into the bias
        return keras.activations.relu(x + 3.0, max_value=6.0) * (1 / 6)

    def relu():
        return [layers.BatchNormalization(), layers.ReLU()]

    def head():
        return [layers.Flatten(), layers.Dense(3, name="head")]

    return {
        "conv": lambda: sequence_of((6, 6, 3), layers.Conv2D(4, 3, name="main"), *relu(), *head()),
        "conv_without_bias": lambda: sequence_of(
            (6, 6, 3), layers.Conv2D(4, 3, use_bias=False, name="main"), *relu(), *head()
        ),
        "norm_first": lambda: sequence_of(
            (6, 6, 3), layers.BatchNormalization(), layers.Conv2D(4, 3, name="main"), *head()
        ),
        "dense": lambda: sequence_of((9,), layers.Dense(8, name="main"), *relu(), *head()),
        "dense_between_norms": lambda: sequence_of(
            (9,), layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Dense(5, name="main"), *relu(), *head()
        ),
        "depthwise": lambda: sequence_of(
            (6, 6, 3), layers.DepthwiseConv2D(3, depth_multiplier=2, name="main"), *relu(), *head()
        ),
        "separable": lambda: sequence_of((6, 6, 3), layers.SeparableConv2D(4, 3, name="main"), *relu(), *head()),
        "conv1d": lambda: sequence_of((9, 3), layers.Conv1D(4, 3, name="main"), *relu(), *head()),
        "transposed": lambda: sequence_of(
            (5, 5, 3), layers.Conv2DTranspose(4, 3, strides=2, name="main"), *relu(), *head()
        ),
        "lstm": lambda: sequence_of((5, 4), layers.LSTM(6, name="main"), *head()),
        "gru": lambda: sequence_of((5, 4), layers.GRU(6, name="main"), *head()),
        "bidirectional": lambda: sequence_of((5, 4), layers.Bidirectional(layers.LSTM(6), name="main"), *head()),
        "embedding": lambda: sequence_of(
            (5,), layers.Embedding(9, 4, name="main"), layers.GlobalAveragePooling1D(), *head()
        ),
        "layer_norm": lambda: sequence_of((9,), layers.Dense(8, name="main"), layers.LayerNormalization(), *head()),
        "hard_swish": lambda: sequence_of(
            (9,), layers.Dense(8, name="main"), layers.Lambda(hard_swish), layers.Dense(3, name="head")
        ),
        "rescaled": lambda: sequence_of((9,), layers.Rescaling(1 / 255), layers.Dense(8, "relu", name="main"), *head()),
    }


@pytest.mark.parametrize(
    "name",
    [
        "conv",
        pytest.param("conv_without_bias", marks=pytest.mark.slow),
        pytest.param("norm_first", marks=pytest.mark.slow),
        "dense",
        pytest.param("dense_between_norms", marks=pytest.mark.slow),
        "depthwise",
        "separable",
        "conv1d",
        pytest.param("transposed", marks=pytest.mark.slow),
        "lstm",
        "gru",
        "bidirectional",
        pytest.param("embedding", marks=pytest.mark.slow),
        "layer_norm",
        pytest.param("hard_swish", marks=pytest.mark.slow),
        pytest.param("rescaled", marks=pytest.mark.slow),
    ],
)
def test_filled_file_equals_a_fresh_conversion(name, keras, sequence_of, randomised, inputs_of):
    from paretune.objectives.templates.conversion import convert
    from paretune.objectives.templates.template import build_template

    model = models(keras, sequence_of)[name]()
    before = [weight.copy() for weight in model.get_weights()]
    template = build_template(model)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
    assert template.unmatched == ()
    covered = {"head"} if name == "bidirectional" else {"main", "head"}  # no knob reaches inside a Bidirectional
    assert covered <= set(template.places)

    randomised(model, seed=11)
    inputs = inputs_of(model, samples=3)
    filled = outputs(template.fill(model), model, inputs)
    fresh = outputs(convert(model), model, inputs)
    for one, other in zip(filled, fresh, strict=True):
        assert np.abs(one - other).max() <= 1e-6 * np.abs(other).max()
    expected = model(inputs[0], training=False).numpy()
    assert np.abs(filled[0] - expected).max() <= 1e-5 * np.abs(expected).max()


def two_headed(keras, randomised):
    left, right = keras.Input((8,), name="left"), keras.Input((6,), name="right side")
    hidden = keras.layers.Dense(4, activation="relu", name="a")(left)
    joined = keras.layers.Add()([hidden, keras.layers.Dense(4, name="b")(right)])
    late = keras.layers.Dense(3, name="late")(joined)
    early = keras.layers.Dense(2, activation="softmax", name="early")(hidden)
    return randomised(keras.Model([right, left], [late, early]), seed=5)


def test_inputs_and_outputs_are_addressed_in_keras_order_also_after_quantization(keras, randomised, inputs_of):
    from ai_edge_litert.tools import flatbuffer_utils

    from paretune.objectives.formats.formats import quantize_file
    from paretune.objectives.templates.template import build_template
    from paretune.spaces.policies.quantization import Quantization

    def with_reversed_order(file):
        parsed = flatbuffer_utils.read_model_from_bytearray(bytearray(file))
        parsed.subgraphs[0].inputs.reverse()
        parsed.subgraphs[0].outputs.reverse()
        return bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))

    model = two_headed(keras, randomised)
    template = build_template(model)
    assert template.input_names == ("right_side", "left")
    assert template.output_names == ("output_0", "output_1")
    inputs = inputs_of(model)
    expected = [output.numpy() for output in model(inputs, training=False)]
    for file in (template.fill(model), with_reversed_order(template.fill(model))):
        quantized = quantize_file(template, file, dict.fromkeys("ab", Quantization.INT8), inputs)
        for exported, allowed in ((file, 1e-5), (quantized, 0.05)):
            for found, wanted in zip(outputs(exported, model, inputs), expected, strict=True):
                assert found.shape == wanted.shape
                assert np.abs(found - wanted).max() <= allowed * np.abs(wanted).max()


def test_constants_without_an_expression_are_named_and_converted_anew(keras, sequence_of, randomised, inputs_of):
    from paretune.objectives.formats.formats import quantize_file
    from paretune.objectives.keras_door import tf
    from paretune.objectives.templates.template import build_template
    from paretune.spaces.policies.quantization import Quantization

    @keras.utils.register_keras_serializable("test")
    class SquaredGain(keras.layers.Layer):
        def build(self, shape):
            self.gain = self.add_weight("gain", (int(shape[-1]),))

        def call(self, inputs):
            return inputs * tf.square(self.gain)

    dense = keras.layers.Dense
    model = sequence_of((9,), dense(8, "relu", name="a"), SquaredGain(), dense(8, "relu", name="b"), dense(3, name="c"))
    template = build_template(model)
    assert len(template.unmatched) == 1
    assert {place.tensor for place in template.places["b"]} == set(template.unmatched)

    randomised(model, seed=11)
    for name in "ab":  # equal biases: the converter merges them, and calls what uses them otherwise
        model.get_layer(name).bias.assign(np.zeros(8))
    inputs = inputs_of(model)
    expected = model(inputs[0], training=False).numpy()
    file = template.fill(model)
    quantized = quantize_file(template, file, dict.fromkeys("abc", Quantization.INT8), inputs)
    for exported, allowed in ((file, 1e-5), (quantized, 0.05)):
        assert np.abs(outputs(exported, model, inputs)[0] - expected).max() <= allowed * np.abs(expected).max()


def test_statistics_of_the_data_stay_in_the_file_and_others_are_noticed(keras, sequence_of, inputs_of):
    from paretune.objectives.templates.template import build_template

    def normalised(mean):
        model = sequence_of((9,), keras.layers.Normalization(name="n"), keras.layers.Dense(4, name="d"))
        model.get_layer("n").adapt(np.random.default_rng(1).normal(mean, 2, (50, 9)))
        return model

    model, other = normalised(1.0), normalised(5.0)
    template = build_template(model)
    inputs = inputs_of(model, samples=3)
    for each in (model, other):
        expected = each(inputs[0], training=False).numpy()
        assert np.allclose(outputs(template.fill(each), each, inputs)[0], expected, atol=1e-5)


def test_template_is_the_same_whatever_was_built_before_and_survives_pickling(keras, sequence_of):
    from paretune.objectives.templates.template import build_template

    def attention():
        tokens = keras.Input((4, 6), name="tokens")
        mixed = keras.layers.MultiHeadAttention(2, 3, name="attention")(tokens, tokens)
        return keras.Model(tokens, keras.layers.Dense(2, name="head")(mixed))

    first = build_template(attention())
    second = build_template(attention())
    assert first == second
    assert pickle.loads(pickle.dumps(first)) == first  # noqa: S301  # our own bytes


def test_filling_with_another_architecture_is_an_error(keras, sequence_of):
    from paretune.objectives.templates.template import build_template

    template = build_template(sequence_of((9,), keras.layers.Dense(4, name="d")))
    with pytest.raises(ValueError, match="must have the layers and shapes"):
        template.fill(sequence_of((9,), keras.layers.Dense(5, name="d")))


def test_masks_leave_no_negative_zeros(keras, sequence_of):
    from paretune.objectives.flatbuffer.graph import read_graph
    from paretune.objectives.templates.template import build_template

    model = sequence_of((9,), keras.layers.Dense(4, name="d"))
    kernel, bias = model.get_layer("d").get_weights()
    model.get_layer("d").set_weights([kernel * 0, bias])
    template = build_template(model)
    graph = read_graph(template.fill(model))
    stored = graph.stored(graph.by_name()[template.places["d"][0].tensor])
    assert not np.signbit(stored).any()
