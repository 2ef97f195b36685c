"""Number formats, read back from the file and run."""

import numpy as np
import pytest

from paretune.spaces.errors import Infeasible
from paretune.spaces.policies.policy import Quantization

pytestmark = pytest.mark.tensorflow

EVERY_FORMAT = [
    Quantization.FLOAT16,
    Quantization.DYNAMIC_INT8,
    Quantization.INT8,
    Quantization.INT8_QAT,
    Quantization.INT16X8,
    Quantization.INT4,
]


class Exported:
    """A model with its template, float file and sample inputs."""

    def __init__(self, model, inputs):
        from paretune.objectives.templates.template import build_template

        self.model, self.inputs = model, inputs
        self.template = build_template(model)
        self.file = self.template.fill(model)

    def quantized(self, formats):
        from paretune.objectives.formats.formats import quantize_file

        return quantize_file(self.template, self.file, formats, self.inputs)

    def stored(self, file):
        from paretune.objectives.flatbuffer.graph import read_graph
        from paretune.objectives.flatbuffer.stored import stored_format

        graph = read_graph(file)
        return {
            layer: {stored_format(graph, place) for place in places} for layer, places in self.template.places.items()
        }

    def outputs(self, file):
        from paretune.objectives.measure.interpreter import TfliteRunner

        return TfliteRunner(file, self.template.input_names, self.template.output_names).predict(self.inputs)

    def error(self, file):
        found, expected = self.outputs(file)[0], self.outputs(self.file)[0]
        return float(np.abs(found - expected).max() / np.abs(expected).max())

    def kinds(self, file):
        """Return the type of what each operator gives, by kind of operator."""
        from paretune.objectives.flatbuffer.graph import read_graph

        graph = read_graph(file)
        return {operator.kind: graph.named(operator, operator.outputs[0]).dtype for operator in graph.operators}


@pytest.fixture(scope="module")
def layers():
    from paretune.objectives.keras_door import keras

    return keras.layers


@pytest.fixture(scope="module")
def cnn(layers, sequence_of, inputs_of):
    model = sequence_of(
        (8, 8, 3),
        layers.Conv2D(6, 3, name="conv"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, name="depthwise", activation="relu"),
        layers.Conv2D(5, 1, name="point", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(7, name="dense", activation="relu"),
        layers.Dense(4, name="head"),
        layers.Softmax(),
    )
    return Exported(model, inputs_of(model))


@pytest.mark.parametrize("form", EVERY_FORMAT)
def test_each_format_reads_back_as_asked_and_runs(cnn, form):
    layers = ["conv", "point", "dense", "head"]
    file = cnn.quantized(dict.fromkeys(layers, form))
    wanted = Quantization.INT8 if form is Quantization.INT8_QAT else form
    stored = cnn.stored(file)
    assert {layer: stored[layer] for layer in layers} == {layer: {str(wanted)} for layer in layers}
    assert stored["depthwise"] == {"float32"}
    assert cnn.error(file) < (0.3 if form is Quantization.INT4 else 0.05)


@pytest.mark.parametrize("form", [Quantization.FLOAT16, Quantization.INT16X8])
def test_wide_formats_hold_on_convolutions_depthwise_ones_and_dense_layers(cnn, form):
    from paretune.objectives.flatbuffer.reader import read_fidelity
    from paretune.spaces.policies.layers import LayerSpec
    from paretune.spaces.policies.policy import LayerPolicy, Policy

    specs = [
        LayerSpec(name=layer, kind="", weight_shape=places[0].shape, weights=1, distinct=1)
        for layer, places in cnn.template.places.items()
    ]
    policy = Policy(tuple((spec.name, LayerPolicy(quantization=form)) for spec in specs))
    file = cnn.quantized(dict.fromkeys(cnn.template.places, form))
    fidelity = read_fidelity(cnn.template, cnn.file, file, policy, specs)
    assert fidelity.faults == ()
    assert {layer.stored_as for layer in fidelity.layers} == {str(form)}
    assert cnn.error(file) < 0.01


def test_one_file_holds_all_formats(cnn):
    asked = {
        "conv": Quantization.INT8,
        "depthwise": Quantization.DYNAMIC_INT8,
        "point": Quantization.INT4,
        "dense": Quantization.INT16X8,
        "head": Quantization.FLOAT16,
    }
    file = cnn.quantized(asked)
    assert cnn.stored(file) == {layer: {str(form)} for layer, form in asked.items()}
    assert cnn.error(file) < 0.3
    assert file == cnn.quantized(dict(reversed(asked.items()))), "the same decisions give the same bytes"


def test_operators_without_weights_follow_what_feeds_them_if_that_agrees(cnn):
    integers = cnn.kinds(
        cnn.quantized(dict.fromkeys(["conv", "depthwise", "point", "dense", "head"], Quantization.INT8))
    )
    assert (integers["MAX_POOL_2D"], integers["RESHAPE"], integers["SOFTMAX"]) == ("INT8", "INT8", "INT8")
    floats = cnn.kinds(cnn.quantized({"conv": Quantization.INT8, "head": Quantization.DYNAMIC_INT8}))
    assert (floats["MAX_POOL_2D"], floats["RESHAPE"], floats["SOFTMAX"]) == ("FLOAT32", "FLOAT32", "FLOAT32")


def test_an_addition_of_two_formats_stays_float(layers, randomised, inputs_of):
    from paretune.objectives.keras_door import keras

    inputs = keras.Input((6,), name="x")
    one, other = layers.Dense(4, name="one")(inputs), layers.Dense(4, name="other")(inputs)
    model = randomised(keras.Model(inputs, layers.Add()([one, other])), seed=2)
    sum_of_two = Exported(model, inputs_of(model))
    same = sum_of_two.quantized({"one": Quantization.INT8, "other": Quantization.INT8})
    mixed = sum_of_two.quantized({"one": Quantization.INT8, "other": Quantization.INT16X8})
    assert (sum_of_two.kinds(same)["ADD"], sum_of_two.kinds(mixed)["ADD"]) == ("INT8", "FLOAT32")
    assert sum_of_two.error(mixed) < 0.05


def test_inputs_and_outputs_of_the_file_stay_float(cnn):
    from paretune.objectives.flatbuffer.graph import read_graph

    graph = read_graph(cnn.quantized(dict.fromkeys(cnn.template.places, Quantization.INT8)))
    assert {graph.tensors[0][number].dtype for number in (*graph.inputs, *graph.outputs)} == {"FLOAT32"}


def test_dense_layers_have_one_scale_unless_a_norm_is_folded_in(layers, sequence_of, inputs_of):
    from paretune.objectives.flatbuffer.graph import read_graph

    model = sequence_of(
        (6,),
        layers.Dense(5, name="plain", activation="relu"),
        layers.BatchNormalization(),
        layers.Dense(5, name="behind_a_norm", activation="relu"),
        layers.Dense(5, name="before_a_norm"),
        layers.BatchNormalization(),
        layers.ReLU(),
    )
    exported = Exported(model, inputs_of(model))
    graph = read_graph(exported.quantized(dict.fromkeys(exported.template.places, Quantization.INT8)))
    scales = {
        layer: len(graph.by_name()[places[0].tensor].scales) for layer, places in exported.template.places.items()
    }
    assert scales == {"plain": 1, "behind_a_norm": 1, "before_a_norm": 5}


def test_nothing_to_quantize_returns_the_float_file(cnn):
    assert cnn.quantized({"conv": Quantization.FLOAT32}) == cnn.file


def test_int4_depthwise_is_refused_and_never_silently_float(cnn):
    from paretune.objectives.formats.refusals import refused_formats

    with pytest.raises(Infeasible, match="'depthwise' cannot be stored as int4"):
        cnn.quantized({"depthwise": Quantization.INT4})
    refused = refused_formats(cnn.template, cnn.file, cnn.inputs)
    assert {layer: set(reasons) for layer, reasons in refused.items()} == {
        "conv": {Quantization.INT4_BLOCK},
        "depthwise": {Quantization.INT4, Quantization.INT4_BLOCK},
        "point": {Quantization.INT4_BLOCK},
        "dense": {Quantization.INT4_BLOCK},
        "head": {Quantization.INT4_BLOCK},
    }
    assert refused["dense"][Quantization.INT4_BLOCK] == "its 20 inputs cannot be divided into blocks of 32."


def test_int4_in_blocks_scales_each_block_of_inputs_apart(layers, sequence_of, inputs_of):
    from paretune.objectives.flatbuffer.graph import read_graph
    from paretune.objectives.formats.refusals import refused_formats

    model = sequence_of(
        (3, 64), layers.Dense(32, name="wide", activation="relu"), layers.Dense(4, use_bias=False, name="narrow")
    )
    kernel, bias = model.get_layer("wide").get_weights()
    kernel[32:] *= 0.02
    kernel[:32, 0] = 0  # a block of zeros, as pruning leaves them: XNNPACK refuses the scale that it gets
    kernel[32:, 1] *= 1e-8  # a block whose scale is zero in half precision
    model.get_layer("wide").set_weights([kernel, bias])
    inputs = inputs_of(model)[0]
    inputs[..., :32] *= 0.02
    exported = Exported(model, [inputs])
    refused = refused_formats(exported.template, exported.file, exported.inputs)
    assert refused == {"wide": {}, "narrow": {}}
    blocks, channels = (exported.quantized({"wide": form}) for form in (Quantization.INT4_BLOCK, Quantization.INT4))
    assert exported.stored(blocks) == {"wide": {"int4_block"}, "narrow": {"float32"}}
    assert exported.error(blocks) < 0.12 < exported.error(channels)
    # the runtime computes with the values that the file is read to have
    graph = read_graph(blocks)
    read = graph.values(graph.by_name()[exported.template.places["wide"][0].tensor]).T
    assert not read[:32, 0].any()
    assert not read[32:, 1].any()
    # half a step, and the weight at the end of the range in a scale of eight binary digits
    for block in (slice(32), slice(32, 64)):
        np.testing.assert_allclose(read[block], kernel[block], atol=(0.5 + 7 / 256) * np.abs(kernel[block]).max() / 7)
    hidden = np.maximum(exported.inputs[0] @ read + bias, 0) @ model.get_layer("narrow").get_weights()[0]
    # activations are rounded to eight bits as they come
    np.testing.assert_allclose(exported.outputs(blocks)[0], hidden, atol=0.05 * np.abs(hidden).max())


def test_a_layer_that_reads_too_few_channels_for_blocks_is_told_before_anything_is_trained(
    layers, sequence_of, inputs_of
):
    from paretune.objectives.formats.formats import check_formats
    from paretune.objectives.shrinking.cutting import cut_channels

    model = sequence_of((8,), layers.Dense(64, name="wide", activation="relu"), layers.Dense(4, name="head"))
    exported = Exported(model, inputs_of(model))
    for kept, is_possible in ((32, True), (40, False)):
        cut = cut_channels(exported.template, exported.file, {"wide": np.arange(64) < kept})
        check_formats(exported.template, cut, {"wide": Quantization.FLOAT32, "head": Quantization.INT4})
        if is_possible:
            check_formats(exported.template, cut, {"head": Quantization.INT4_BLOCK})
        else:
            with pytest.raises(Infeasible, match=r"'head' .* its 40 inputs cannot be divided into blocks of 32"):
                check_formats(exported.template, cut, {"head": Quantization.INT4_BLOCK})


def test_a_layer_whose_quantized_output_is_wild_is_singled_out(layers, sequence_of, inputs_of):
    from paretune.objectives.formats.refusals import refused_formats

    model = sequence_of(
        (6,), layers.Dense(8, name="fine", activation="relu"), layers.Dense(8, name="wild"), layers.Dense(3, name="end")
    )
    # One weight a million times the others: with one scale for the layer, all the others become zero. Its input is
    # always zero, so in float it does not show.
    kernel, bias = model.get_layer("fine").get_weights()
    kernel[:, 0], bias[0] = 0, 0
    model.get_layer("fine").set_weights([kernel, bias])
    kernel, bias = model.get_layer("wild").get_weights()
    kernel[0, 0] = 1e6
    model.get_layer("wild").set_weights([kernel, bias * 0])
    exported = Exported(model, inputs_of(model))
    refused = refused_formats(exported.template, exported.file, exported.inputs)
    assert Quantization.DYNAMIC_INT8 in refused["wild"]
    assert refused["wild"][Quantization.INT8_QAT] == refused["wild"][Quantization.INT8]
    assert "beyond 65504" in refused["wild"][Quantization.FLOAT16]
    assert set(refused["fine"]) == set(refused["end"]) == {Quantization.INT4_BLOCK}


def test_recurrent_layers_and_embeddings_get_the_formats_that_exist(layers, sequence_of, inputs_of):
    from paretune.objectives.formats.refusals import refused_formats

    words = sequence_of(
        (5,), layers.Embedding(9, 4, name="table"), layers.LSTM(6, name="lstm"), layers.Dense(3, name="head")
    )
    rows = sequence_of((5, 4), layers.GRU(6, name="gru"), layers.Dense(3, name="head"))
    static = {Quantization.INT8, Quantization.INT8_QAT, Quantization.INT16X8}
    wanted = {
        "table": {Quantization.INT16X8, Quantization.INT4, Quantization.INT4_BLOCK},
        "lstm": static | {Quantization.INT4, Quantization.INT4_BLOCK},
        "gru": static | {Quantization.INT4_BLOCK},
        "head": {Quantization.INT4_BLOCK},
    }
    for model in (words, rows):
        exported = Exported(model, inputs_of(model))
        refused = refused_formats(exported.template, exported.file, exported.inputs)
        assert {layer: set(reasons) for layer, reasons in refused.items()} == {
            layer: wanted[layer] for layer in exported.template.places
        }
        for form in (Quantization.FLOAT16, Quantization.DYNAMIC_INT8):
            file = exported.quantized(dict.fromkeys(exported.template.places, form))
            assert set.union(*exported.stored(file).values()) == {str(form)}
            assert exported.error(file) < 0.03


def test_rows_of_a_table_that_samples_never_touch_are_not_clipped(layers, sequence_of):
    from paretune.objectives.flatbuffer.graph import read_graph

    model = sequence_of((2,), layers.Embedding(9, 4, name="table"), layers.Flatten(), layers.Dense(3, name="head"))
    table = model.get_layer("table").get_weights()[0]
    table[8] = 40.0
    model.get_layer("table").set_weights([table])
    exported = Exported(model, [np.zeros((4, 2), np.float32)])
    graph = read_graph(exported.quantized({"table": Quantization.INT8}))
    stored = graph.values(graph.by_name()[exported.template.places["table"][0].tensor])
    assert stored[8] == pytest.approx(40.0, rel=0.01)


def test_a_layer_that_pruning_silenced_still_gives_a_file_that_runs(layers, sequence_of, inputs_of):
    model = sequence_of(
        (8, 8, 3),
        layers.Conv2D(4, 3, name="silent"),
        layers.ReLU(6.0),
        layers.Conv2D(4, 3, name="next", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, name="head"),
    )
    model.get_layer("silent").set_weights([np.zeros((3, 3, 3, 4)), np.zeros(4)])
    exported = Exported(model, inputs_of(model))
    for form in (Quantization.INT8, Quantization.INT16X8):
        assert exported.error(exported.quantized(dict.fromkeys(exported.template.places, form))) < 0.05
