"""Every kind of layer is trained by the compiled stages, and keeps to the end what a policy asks of it."""

import contextlib
from functools import cache

import numpy as np
import pytest

from paretune.objectives.engine.cluster_graph import ClusterGraph
from paretune.objectives.engine.numerics import FAST
from paretune.objectives.engine.prune_graph import PruneGraph
from paretune.objectives.engine.quantize_graph import QuantizeGraph
from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.kernels.cluster_lines import channel_axis, lines_of
from paretune.objectives.kernels.weights import compressed_variables, read_weights
from paretune.objectives.stage_running import EngineOrReference
from paretune.objectives.working_copy.rewrites import prepare_working_copy
from paretune.spaces.policies.policy import LayerPolicy
from tests.objectives.engine.small_models import QAT, noise_for, policy, run, run_all, task

pytestmark = pytest.mark.tensorflow

PRUNED_AND_CLUSTERED = LayerPolicy(sparsity=0.5, clusters=5, quantization=QAT)
PRUNED = LayerPolicy(sparsity=0.5, quantization=QAT)


def images():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    x = layers.GaussianNoise(0.1, name="noise")(inputs)
    x = layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2", name="conv2d")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    x = layers.SeparableConv2D(5, 3, padding="same", name="separable")(x)
    x = layers.Conv2DTranspose(3, 2, name="transpose")(x)
    x = layers.DepthwiseConv2D(2, name="depthwise")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.Model(inputs, layers.Dense(3, kernel_regularizer="l1_l2", name="dense")(x))


def words():
    """Recurrent layers, one of them as a loop: unrolled ones are traced faster."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    inputs = keras.Input((3,), dtype="int32")
    x = layers.Embedding(7, 6, mask_zero=True, name="embedding")(inputs)
    x = layers.LSTM(4, return_sequences=True, name="lstm")(x)
    x = layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True, unroll=True), name="both_ways")(x)
    x = layers.GRU(4, return_sequences=True, unroll=True, name="gru")(x)
    x = layers.SimpleRNN(5, unroll=True, name="simple_rnn")(x)
    return keras.Model(inputs, layers.Dense(3, name="dense")(x))


def rows():
    """Attention of rows to each other and to other rows, and einsum layers of one and of two axes."""
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inputs = keras.Input((4, 6))
    x = layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 4), bias_axes="de", name="heads")(inputs)
    x = layers.EinsumDense("...de,def->...f", output_shape=(8,), activation="relu", name="joined")(x)
    y = layers.MultiHeadAttention(2, 3, dropout=0.1, name="attention")(x, x, use_causal_mask=True)
    x = layers.LayerNormalization(name="norm")(layers.Add(name="residual")([x, y]))
    y = layers.MultiHeadAttention(1, 4, value_dim=3, output_shape=5, name="cross")(x, inputs)
    y = layers.GlobalAveragePooling1D(name="pool")(y)
    return prepare_working_copy(keras.Model(inputs, layers.Dense(3, name="dense")(y))).model


def two_in_two_out():
    keras.utils.set_random_seed(3)
    layers = keras.layers
    signal, facts = keras.Input((8, 2), name="signal"), keras.Input((4,), name="facts")
    nested = keras.Sequential(
        [keras.Input((8, 2)), layers.Conv1D(4, 3, name="conv1d"), layers.Flatten()], name="nested"
    )
    x = layers.Concatenate(name="both")([nested(signal), layers.Dense(6, activation="relu", name="side")(facts)])
    outputs = [layers.Dense(3, name="left")(x), layers.Dense(4, name="right")(x)]
    return prepare_working_copy(keras.Model([signal, facts], outputs)).model


def half_precision():
    keras.utils.set_random_seed(4)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        layers = keras.layers
        inputs = keras.Input((6, 6, 1))
        x = layers.Conv2D(4, 3, activation="relu", name="conv2d")(inputs)
        x = layers.Dense(3, dtype="float32", name="dense")(layers.Flatten(name="flat")(x))
        return prepare_working_copy(keras.Model(inputs, x)).model
    finally:
        keras.mixed_precision.set_global_policy("float32")


BUILDERS = {build.__name__: build for build in (images, words, rows, two_in_two_out, half_precision)}
POLICIES = {
    "images": policy(
        conv2d=PRUNED_AND_CLUSTERED,
        separable=PRUNED_AND_CLUSTERED,
        transpose=PRUNED_AND_CLUSTERED,
        depthwise=PRUNED,
        dense=PRUNED_AND_CLUSTERED,
    ),
    "words": policy(
        embedding=PRUNED_AND_CLUSTERED,
        lstm=PRUNED_AND_CLUSTERED,
        both_ways=PRUNED_AND_CLUSTERED,
        gru=PRUNED_AND_CLUSTERED,
        simple_rnn=PRUNED_AND_CLUSTERED,
        dense=PRUNED_AND_CLUSTERED,
    ),
    "rows": policy(
        heads=PRUNED_AND_CLUSTERED,
        joined=PRUNED_AND_CLUSTERED,
        attention=PRUNED_AND_CLUSTERED,
        cross=PRUNED_AND_CLUSTERED,
        dense=PRUNED_AND_CLUSTERED,
    ),
    "two_in_two_out": policy(
        nested_conv1d=PRUNED_AND_CLUSTERED,
        side=PRUNED_AND_CLUSTERED,
        left=PRUNED_AND_CLUSTERED,
        right=PRUNED,
    ),
    "half_precision": policy(conv2d=PRUNED_AND_CLUSTERED, dense=PRUNED_AND_CLUSTERED),
}
#: These take longest to trace.
SLOW = ("words", "rows", "two_in_two_out")


def cases(only_clustered=False):
    return [
        pytest.param(name, layer, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, decided in POLICIES.items()
        for layer in decided
        if decided[layer].clusters or not only_clustered
    ]


MODELS = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in BUILDERS]


GRAPHS = {
    "prune": lambda model: PruneGraph(model, FAST),
    "cluster": lambda model: ClusterGraph(model, FAST, 8, "channel"),
    "quantize": lambda model: QuantizeGraph(model, FAST, 8, "channel"),
}


@cache
def built(name):
    return BUILDERS[name]()


@cache
def trained(name):
    """Return the model, and its weights after all three stages in the compiled engine."""
    model = built(name)
    data = noise_for(model, sample_weights=name == "two_in_two_out")
    runner = EngineOrReference(model, data, contextlib.nullcontext, engine="compiled")
    weights = run_all(runner, POLICIES[name], read_weights(model))
    assert runner.fallback == ""
    return model, weights


def compressed(name, layer, weights):
    own = built(name).get_layer(layer)
    for variable in compressed_variables(own):
        yield weights[layer][next(index for index, each in enumerate(own.weights) if each is variable)]


@pytest.mark.parametrize(("name", "layer"), cases())
def test_a_pruned_layer_keeps_its_zeros_through_all_stages(name, layer):
    for values in compressed(name, layer, trained(name)[1]):
        assert np.count_nonzero(values == 0) >= values.size // 2
        assert np.any(values != 0)


@pytest.mark.parametrize(("name", "layer"), cases(only_clustered=True))
def test_a_clustered_layer_keeps_its_distinct_values_through_all_stages(name, layer):
    for values in compressed(name, layer, trained(name)[1]):
        assert 2 <= np.unique(values).size <= 5


@pytest.mark.slow
def test_every_kind_of_layer_with_channels_keeps_the_clusters_of_each():
    model = built("images")
    few = LayerPolicy(clusters=3, quantization=QAT)
    decided = policy(conv2d=few, separable=few, transpose=few, dense=LayerPolicy(clusters=2))
    runner, weights = CompiledStages(model, noise_for(model)), read_weights(model)
    for stage in ("cluster", "quantize"):
        weights = run(runner, task(stage, decided, cluster_scope="channel"), weights)
        for name, asked in decided.items():
            axis = channel_axis(type(model.get_layer(name)).__name__, "channel")
            for values in compressed("images", name, weights):
                lines = lines_of(values, axis)
                assert max(np.unique(line).size for line in lines) == asked.clusters, (stage, name)
                assert np.unique(values).size > asked.clusters, (stage, name)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_is_trained_and_keeps_its_place(name):
    model, weights = trained(name)
    before = read_weights(model)
    assert list(weights) == list(before)
    for layer, arrays in before.items():
        for old, new in zip(arrays, weights[layer], strict=True):
            assert old.shape == new.shape
            assert np.isfinite(new).all()
            assert not np.array_equal(old, new), layer


@pytest.mark.parametrize("stage", GRAPHS)
@pytest.mark.parametrize("name", BUILDERS)
def test_a_wrapped_model_computes_what_the_original_computes_until_a_policy_asks_for_more(name, stage):
    """Masks, for one, are passed on."""
    model, graph = built(name), GRAPHS[stage](built(name))
    for layer, arrays in read_weights(model).items():
        for variable, array in zip(graph.variables[layer], arrays, strict=True):
            variable.assign(array)
    inputs = [tf.constant(array[:6]) for array in noise_for(model).inputs]
    for ours, theirs in zip(tf.nest.flatten(graph.model(inputs)), tf.nest.flatten(model(inputs)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
