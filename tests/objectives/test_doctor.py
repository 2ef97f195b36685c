import numpy as np
import pytest

from paretune.objectives.channels.groups import channels_of
from paretune.objectives.doctor import examine, examine_others
from paretune.objectives.keras_door import keras
from paretune.objectives.working_copy.rewrites import prepare_working_copy
from paretune.spaces.policies.quantization import Quantization

pytestmark = pytest.mark.tensorflow

layers = keras.layers
ALL = tuple(Quantization)
WITHOUT_QAT = tuple(mode for mode in Quantization if mode is not Quantization.INT8_QAT)


def examined(model, refused=None):
    return examine(model, refused or {}, channels_of(model))


def specs_of(*stack, shape=(8, 8, 2), dtype=None, refused=None):
    model = keras.Sequential([layers.Input(shape, dtype=dtype), *stack])
    return {spec.name: spec for spec in examined(prepare_working_copy(model).model, refused)}


def refusals_of(spec):
    """Return what is refused but channels and ranks, which have tests of their own."""
    return {subject: reason for subject, reason in spec.refusals.items() if subject not in ("channels", "rank")}


def test_dense_and_convolutions_support_every_knob():
    specs = specs_of(layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(3, name="dense"))
    conv = specs["conv"]
    assert (conv.kind, conv.weight_shape, conv.weights, conv.macs) == ("Conv2D", (3, 3, 2, 4), 72, 36 * 72)
    assert conv.distinct == 72
    for spec in specs.values():
        assert (spec.prunable, spec.clusterable, spec.quantizations, refusals_of(spec)) == (True, True, ALL, {})


def test_tfmots_gaps_are_refused_with_their_reason():
    specs = specs_of(
        layers.DepthwiseConv2D(3, name="depthwise"),
        layers.SeparableConv2D(4, 3, name="separable"),
        layers.Conv2DTranspose(4, 3, name="transpose"),
        layers.Reshape((36, 4)),
        layers.Conv1D(4, 3, name="conv1d"),
        layers.GRU(4, return_sequences=True, name="gru"),
        layers.SimpleRNN(4, return_sequences=True, name="rnn"),
        layers.Bidirectional(layers.GRU(4, return_sequences=True), name="both_ways"),
        layers.LSTM(4, name="lstm"),
    )
    depthwise = specs.pop("depthwise")
    assert (depthwise.prunable, depthwise.clusterable, depthwise.quantizations) == (False, False, ALL)
    assert refusals_of(depthwise) == {
        "sparsity": "tfmot does not prune DepthwiseConv2D layers.",
        "clusters": "tfmot does not cluster DepthwiseConv2D layers.",
    }
    for spec in specs.values():
        assert (spec.prunable, spec.clusterable, spec.quantizations) == (True, True, WITHOUT_QAT)
        reason = f"tfmot has no quantization-aware training for {spec.kind} layers."
        assert refusals_of(spec) == {"int8_qat": reason}
    assert specs["separable"].weight_shape == (1, 1, 2, 4)
    assert (specs["lstm"].weight_shape, specs["lstm"].weights) == ((8, 16), 192)
    assert (specs["both_ways"].weight_shape, specs["both_ways"].weights) == ((4, 12), 192)
    assert specs["both_ways"].macs == 34 * 192


def test_layers_that_lose_channels_together_name_their_group_and_what_they_read():
    inputs = keras.Input((6, 6, 2))
    first = layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    x = layers.Add()([layers.Conv2D(4, 3, padding="same", name="second")(first), first])
    model = keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))
    first, second, head = examined(prepare_working_copy(model).model)
    assert (first.channels, first.channel_group, first.reads) == (4, "first", ())
    assert (second.channels, second.channel_group, second.reads) == (4, "first", ("first",))
    assert (head.channels, head.channel_group, head.reads, head.inputs_each) == (0, "", ("first",), (1,))
    assert head.refusals["channels"] == "They are outputs of the model."


def test_how_many_inputs_a_channel_is_behind_a_flattened_image_is_told():
    specs = specs_of(layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(3, name="head"))
    assert (specs["head"].reads, specs["head"].inputs_each) == (("conv",), (36,))


def test_an_embedding_is_pruned_and_clustered_but_not_trained_quantized():
    words = specs_of(layers.Embedding(10, 4, name="words"), layers.Flatten(), shape=(5,), dtype="int32")["words"]
    assert (words.prunable, words.clusterable, words.quantizations) == (True, True, WITHOUT_QAT)
    assert words.macs == 0


def test_formats_the_file_cannot_carry_are_refused_and_take_trained_int8_with_them():
    refused = {"dense": {Quantization.INT4: "No kernel.", Quantization.INT8: "NaN."}}
    dense = specs_of(layers.Flatten(), layers.Dense(3, name="dense"), refused=refused)["dense"]
    assert Quantization.DYNAMIC_INT8 in dense.quantizations
    assert refusals_of(dense) == {"int4": "No kernel.", "int8": "NaN.", "int8_qat": "NaN."}
    assert not set(dense.quantizations) & {Quantization.INT4, Quantization.INT8, Quantization.INT8_QAT}


def test_layers_that_tfmot_would_quietly_leave_out_of_training_are_told():
    specs = specs_of(
        layers.Conv2D(4, 3, name="before_relu6"),
        layers.ReLU(6.0, name="relu6"),
        layers.Conv2D(4, 3, name="elu", activation="elu"),
        layers.Conv2D(4, 3, name="normal"),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
    )
    assert "when 'relu6' follows it directly" in specs["before_relu6"].refusals["int8_qat"]
    assert "for the activation elu" in specs["elu"].refusals["int8_qat"]
    assert specs["normal"].quantizations == ALL


def test_what_a_sparsity_pattern_does_to_each_layer_is_told() -> None:
    specs = specs_of(
        layers.Conv2D(8, 3, name="narrow"),
        layers.Conv2D(6, 3, name="wide"),
        layers.Conv2D(6, 1, name="uneven"),
        layers.DepthwiseConv2D(2, name="depthwise"),
        layers.Flatten(),
        layers.Dense(3, name="dense"),
    )
    assert {name: spec.pattern_floors for name, spec in specs.items()} == {
        "narrow": {},
        "wide": {"2:4": 0.5},
        "uneven": {"2:4": pytest.approx(2 / 6)},  # 2 of the first 4 inputs, none of the 2 that are left
        "depthwise": {},
        "dense": {"2:4": pytest.approx(26 / 54)},
    }
    assert specs["narrow"].pattern_refusals == {"2:4": "2:4 needs kernels of at least 4 inputs, one has 2."}
    assert specs["dense"].pattern_refusals == {
        "1x4": "blocks of 1x4 need kernels of at least 2 x 5, one is 54 x 3.",
    }
    assert specs["wide"].pattern_refusals == specs["depthwise"].pattern_refusals == {}


def test_distinct_values_are_counted_as_trained():
    model = keras.Sequential([layers.Input((4,)), layers.Dense(4, use_bias=False)])
    model.set_weights([np.tile(np.float32([0, 1, 1, 2]), (4, 1))])
    (spec,) = examined(prepare_working_copy(model).model)
    assert (spec.distinct, spec.weights) == (3, 16)


def test_layers_that_no_knob_covers_are_reported_with_the_reason():
    shared = layers.Dense(4, name="shared")
    x = keras.Input((6, 4))
    y = layers.TimeDistributed(layers.Dense(4), name="each")(shared(shared(x)))
    y = layers.EinsumDense("abc,bcd->abd", output_shape=(6, 4), name="einsum")(y)
    y = layers.BatchNormalization()(layers.LayerNormalization(name="norm")(y))
    model = prepare_working_copy(keras.Model(x, layers.Dense(3, name="head")(y))).model
    assert [spec.name for spec in examined(model)] == ["head"]
    assert examine_others(model) == {
        "shared": "It is used 2 times; shared layers stay as trained.",
        "each": "No knob reaches a Dense layer inside TimeDistributed; it stays float32.",
        "einsum": "Its kernel is no matrix of inputs by outputs in 'abc,bcd->abd'; it stays float32.",
        "norm": "No knob covers LayerNormalization layers; it stays float32.",
    }


def test_examining_a_model_leaves_it_as_it_was():
    model = prepare_working_copy(keras.Sequential([layers.Input((4,)), layers.Dense(4, name="dense")])).model
    config = model.get_config()
    examined(model)
    assert model.get_config() == config
    assert not hasattr(model.get_layer("dense"), "get_prunable_weights")
