"""The training stages keep what earlier ones achieved; the facts about tfmot that they mend still stand."""

import math
from functools import cache

import numpy as np
import pytest

from paretune.objectives.channels.remover import ChannelRemover
from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.keras_door import keras, tfmot
from paretune.objectives.kernels.weights import compressed_variables, read_weights
from paretune.objectives.pipeline.annotation import annotated_layers
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.stage_tree import StageTree
from paretune.objectives.pipeline.trainer import Pipeline
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.stages import ReferenceStages
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe, stages_of, training_steps_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, PruneRecipe, StageRecipe
from paretune.spaces.errors import Infeasible, LimitReached
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization

pytestmark = pytest.mark.tensorflow

RECIPE = Recipe(
    prune=PruneRecipe(epochs=2.0, batch_size=16, frequency=2),
    cluster=ClusterRecipe(epochs=1.0, batch_size=16),
    quantize=StageRecipe(epochs=1.0, batch_size=16),
)


def small_cnn():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    y = layers.BatchNormalization(name="branch_bn")(layers.Conv2D(6, 3, padding="same", name="branch")(x))
    x = layers.ReLU(name="joined")(layers.Add(name="add")([x, y]))
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x))


def noisy_stripes():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 96)
    images = generator.normal(0, 0.3, (96, 8, 8, 1)).astype(np.float32)
    images[np.arange(96), labels * 2] += 1
    return TrainingData((images,), (labels,), [keras.losses.SparseCategoricalCrossentropy(from_logits=True)])


def noisy_rows(*shape):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(96, *shape)).astype(np.float32)
    labels = generator.integers(0, 4, 96)
    return TrainingData((rows,), (labels,), [keras.losses.SparseCategoricalCrossentropy(from_logits=True)])


def policy(**layers):
    names = ("stem", "branch", "depthwise", "hidden", "head")
    return Policy(tuple((name, layers.get(name, LayerPolicy())) for name in names))


RUNNERS = {"compiled": CompiledStages, "reference": ReferenceStages}
#: tfmot's own flow traces anew for every candidate.
FLOWS = ["compiled", pytest.param("reference", marks=pytest.mark.slow)]


def pipeline(model, data, flow, *, weights=None):
    weights = weights or read_weights(model)
    remover = ChannelRemover(model, weights, data.inputs)
    return Pipeline(model, weights, data.samples, remover, RUNNERS[flow](model, data), StageTree({}))


@cache
def small_pipeline(flow):
    return pipeline(small_cnn(), noisy_stripes(), flow)


def run(decided, flow="compiled", *, rung=Rung.FULL, recipe=RECIPE, limit=Limit(), seed=5):  # noqa: B008  # frozen
    candidate = Candidate(architecture="", recipe=recipe, policy=decided, seed=seed)
    trained = small_pipeline(flow).train(candidate, rung, limit)
    result = fresh_copy(small_cnn(), trained.weights)
    return trained, {
        name: np.concatenate(
            [variable.numpy().reshape(-1) for variable in compressed_variables(result.get_layer(name))]
        )
        for name in decided
    }


MIXED = policy(
    stem=LayerPolicy(sparsity=0.5, clusters=6, quantization=Quantization.INT8_QAT),
    branch=LayerPolicy(sparsity=0.75, quantization=Quantization.INT8_QAT),
    depthwise=LayerPolicy(quantization=Quantization.INT8_QAT),
    hidden=LayerPolicy(sparsity=0.6, clusters=8, quantization=Quantization.INT4),
    head=LayerPolicy(clusters=5, quantization=Quantization.INT8_QAT),
)

OTHER = policy(
    stem=LayerPolicy(clusters=3, quantization=Quantization.INT8_QAT),
    branch=LayerPolicy(sparsity=0.25, clusters=9),
    hidden=LayerPolicy(sparsity=0.5, quantization=Quantization.INT8_QAT),
    head=LayerPolicy(sparsity=0.5),
)


@pytest.fixture(scope="module", params=["compiled", "reference"])
def mixed(request):
    return run(MIXED, request.param)


@pytest.mark.parametrize("name", ["stem", "branch", "hidden"])
def test_every_pruned_layer_keeps_its_zeros_through_all_later_stages(mixed, name):
    values = mixed[1][name]
    wanted = values.size - round(values.size * (1 - MIXED[name].sparsity))
    assert np.count_nonzero(values == 0) >= wanted


@pytest.mark.parametrize("name", ["stem", "hidden", "head"])
def test_every_clustered_layer_keeps_its_distinct_values_through_quantization_aware_training(mixed, name):
    assert len(np.unique(mixed[1][name])) <= MIXED[name].clusters


def test_layers_without_sparsity_or_clusters_are_trained_freely(mixed):
    depthwise = mixed[1]["depthwise"]
    assert np.count_nonzero(depthwise) == depthwise.size
    assert not np.array_equal(depthwise, read_weights(small_cnn())["depthwise"][0].reshape(-1))


@pytest.mark.parametrize("flow", FLOWS)
def test_the_same_candidate_gives_the_same_weights_whatever_ran_before(flow):
    first, _ = run(MIXED, flow)
    run(OTHER, flow)
    again, _ = run(MIXED, flow)
    assert_same_weights(first.weights, again.weights)


def test_the_same_candidate_gives_the_same_weights_in_graphs_that_were_built_anew():
    first, _ = run(MIXED)
    other = pipeline(small_cnn(), noisy_stripes(), "compiled")
    other.train(Candidate(architecture="", recipe=RECIPE, policy=OTHER, seed=1), Rung.FULL, Limit())
    again = other.train(Candidate(architecture="", recipe=RECIPE, policy=MIXED, seed=5), Rung.FULL, Limit())
    assert_same_weights(first.weights, again.weights)


def assert_same_weights(first, second):
    assert list(first) == list(second)
    for name, arrays in first.items():
        for one, other in zip(arrays, second[name], strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_steps_of_a_trial_are_those_that_were_announced(mixed):
    assert mixed[0].training_steps == training_steps_of(MIXED, RECIPE, Rung.FULL, 96) == 12 + 6 + 6


def test_the_proxy_rung_imposes_the_policy_without_training():
    trained, values = run(MIXED, rung=Rung.PROXY)
    assert trained.training_steps == 0
    for name, decided in MIXED.items():
        if decided.sparsity:
            assert np.mean(values[name] == 0) == pytest.approx(decided.sparsity, abs=1 / values[name].size)
        if decided.clusters:
            assert len(np.unique(values[name])) <= decided.clusters


def test_only_the_stages_that_a_policy_needs_are_run():
    assert stages_of(policy()) == ()
    assert stages_of(policy(head=LayerPolicy(quantization=Quantization.INT8))) == ()
    assert stages_of(policy(head=LayerPolicy(clusters=4))) == ("cluster",)
    assert stages_of(MIXED) == ("prune", "cluster", "quantize")


def test_a_stage_of_a_single_step_still_reaches_its_sparsity():
    recipe = Recipe(prune=PruneRecipe(epochs=0.01, batch_size=64))
    assert recipe.prune.steps(96) == 1
    _, values = run(policy(hidden=LayerPolicy(sparsity=0.5)), recipe=recipe)
    assert np.mean(values["hidden"] == 0) == pytest.approx(0.5)


@pytest.mark.parametrize("flow", RUNNERS)
def test_repeated_weights_do_not_keep_a_layer_from_its_sparsity(flow):
    model = small_cnn()
    weights = read_weights(model)
    weights["hidden"][0][:] = np.sign(weights["hidden"][0]) * 0.1
    recipe = Recipe(prune=PruneRecipe(epochs=0.01, batch_size=64, learning_rate=1e-30))
    decided = policy(hidden=LayerPolicy(sparsity=0.5))
    trained = pipeline(model, noisy_stripes(), flow, weights=weights).train(
        Candidate(architecture="", recipe=recipe, policy=decided), Rung.FULL, Limit()
    )
    assert np.mean(trained.weights["hidden"][0] == 0) == 0.5


@pytest.mark.parametrize("flow", RUNNERS)
def test_a_loss_that_is_no_number_makes_the_policy_infeasible(flow):
    data = noisy_stripes()
    broken = TrainingData((np.full_like(data.inputs[0], np.nan),), data.targets, data.losses)
    candidate = Candidate(architecture="", recipe=RECIPE, policy=policy(head=LayerPolicy(sparsity=0.5)))
    with pytest.raises(Infeasible, match="loss became nan in stage 'prune' at step 1"):
        pipeline(small_cnn(), broken, flow).train(candidate, Rung.FULL, Limit())


def test_pruned_layers_with_two_clusters_are_infeasible():
    with pytest.raises(Infeasible, match="at least 3"):
        run(policy(head=LayerPolicy(sparsity=0.5, clusters=2)))


@pytest.mark.parametrize("flow", RUNNERS)
def test_training_stops_at_its_limit_of_steps(flow):
    with pytest.raises(LimitReached, match="more than 3 training steps"):
        run(policy(head=LayerPolicy(sparsity=0.5)), flow, limit=Limit(training_steps=3))


@pytest.mark.parametrize("flow", RUNNERS)
def test_training_stops_at_its_deadline(flow):
    with pytest.raises(LimitReached, match="longer than 0 s"):
        run(policy(head=LayerPolicy(sparsity=0.5)), flow, limit=Limit(seconds=0.0))


def test_fake_quantization_follows_a_layer_up_to_the_next_weighted_one():
    decided = policy(
        stem=LayerPolicy(quantization=Quantization.INT8_QAT), head=LayerPolicy(quantization=Quantization.INT8_QAT)
    )
    assert annotated_layers(small_cnn(), decided) == {"stem", "stem_bn", "stem_relu", "head"}


@pytest.mark.parametrize("flow", FLOWS)
def test_a_layer_in_front_of_a_concatenation_keeps_its_zeros_and_clusters(flow):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((8,))
    sides = [keras.layers.Dense(16, activation="relu", name=name)(inputs) for name in ("left", "right")]
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(keras.layers.Concatenate()(sides)))
    qat = Quantization.INT8_QAT
    decided = Policy(
        (
            ("left", LayerPolicy(sparsity=0.5, quantization=qat)),
            ("right", LayerPolicy(sparsity=0.5, clusters=5, quantization=qat)),
            ("head", LayerPolicy(quantization=qat)),
        )
    )
    trained = pipeline(model, noisy_rows(8), flow).train(
        Candidate(architecture="", recipe=RECIPE, policy=decided), Rung.FULL, Limit()
    )
    assert np.mean(trained.weights["left"][0] == 0) >= 0.5
    assert np.mean(trained.weights["right"][0] == 0) >= 0.5
    assert len(np.unique(trained.weights["right"][0])) <= 5


@pytest.mark.parametrize("flow", FLOWS)
def test_layers_whose_variables_share_a_name_keep_them_apart_in_quantization_aware_training(flow):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4, 2))
    x = keras.layers.Bidirectional(keras.layers.LSTM(3), name="both_ways")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(x))
    weights = read_weights(model)
    decided = Policy((("head", LayerPolicy(quantization=Quantization.INT8_QAT)),))
    recipe = Recipe(quantize=StageRecipe(epochs=0.1, batch_size=16, learning_rate=1e-30))
    candidate = Candidate(architecture="", recipe=recipe, policy=decided)
    trained = pipeline(model, noisy_rows(4, 2), flow).train(candidate, Rung.FULL, Limit())
    for before, after in zip(weights["both_ways"], trained.weights["both_ways"], strict=True):
        np.testing.assert_allclose(before, after, atol=1e-6)


def test_tfmot_still_loses_sparsity_when_one_layer_of_a_class_has_no_zeros():
    """Facts about tfmot 0.8.1 that make a quantizer per layer necessary; when this fails, tfmot has mended it."""
    model = keras.Sequential(
        [keras.layers.Dense(16, input_shape=(8,), name="full"), keras.layers.Dense(16, name="sparse")]
    )
    kernel = model.get_layer("sparse").get_weights()[0]
    kernel[: math.ceil(0.6 * len(kernel))] = 0
    model.get_layer("sparse").set_weights([kernel, np.zeros(16, np.float32)])
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    scheme = tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(True)
    wrapped = tfmot.quantization.keras.quantize_apply(annotated, scheme=scheme)
    quantizers = [layer._weight_vars[0][1] for layer in wrapped.layers if getattr(layer, "_weight_vars", None)]
    assert quantizers[0] is quantizers[1]
    assert not quantizers[1].preserve_sparsity
