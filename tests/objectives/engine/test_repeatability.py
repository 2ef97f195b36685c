"""The same task gives the same weights, to the last bit, whatever ran before."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.pipeline.optimizers import keras_optimizers
from paretune.spaces.candidates import recipe
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy
from tests.objectives.engine.small_models import QAT, STAGES, noise_for, policy, require_same, run, run_all, task

pytestmark = pytest.mark.tensorflow

ASKED = policy(
    first=LayerPolicy(sparsity=0.5, clusters=6, quantization=QAT),
    second=LayerPolicy(sparsity=0.3, quantization=QAT),
    head=LayerPolicy(clusters=4),
)
OTHER = policy(
    first=LayerPolicy(clusters=9),
    second=LayerPolicy(sparsity=0.7, clusters=5, quantization=QAT),
    head=LayerPolicy(sparsity=0.4, quantization=QAT),
)
#: More clusters than a graph has places for at first: it is built again, larger.
LARGE = policy(first=LayerPolicy(clusters=110, quantization=QAT), second=LayerPolicy(), head=LayerPolicy())

OPTIMIZERS = {
    "adam": {},
    "sgd": {"momentum": 0.9},
    "rmsprop": {"momentum": 0.5},
    "adamw": {"weight_decay": 0.01},
    "nadam": {},
    "adagrad": {},
}


@cache
def noisy():
    """A model that draws random numbers in training."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((10,))
    x = layers.GaussianNoise(0.1, name="noise")(inputs)
    x = layers.Dense(12, activation="relu", name="first")(x)
    x = layers.BatchNormalization(name="norm")(layers.Dropout(0.3, name="dropout")(x))
    x = layers.AlphaDropout(0.1, name="alpha")(layers.Dense(6, activation="relu", name="second")(x))
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


@cache
def used():
    """The engine that all tests share."""
    return engine()


def engine():
    return CompiledStages(noisy(), noise_for(noisy()))


def start():
    return read_weights(noisy())


@cache
def asked_of_a_new_engine():
    return run_all(used(), ASKED, start())


def test_other_policies_rates_and_seeds_leave_no_trace():
    first = asked_of_a_new_engine()
    run_all(used(), OTHER, start(), learning_rate=0.1, seed=9, steps=11, schedule="constant")
    require_same(run_all(used(), ASKED, start()), first)


def test_a_graph_with_more_places_for_clusters_trains_the_same():
    first = asked_of_a_new_engine()
    before = used().prepare(task("cluster", ASKED))
    large = run_all(used(), LARGE, start())
    assert np.unique(large["first"][0]).size > 64
    assert used().prepare(task("cluster", ASKED)) is not before
    require_same(run_all(used(), ASKED, start()), first)


def test_an_engine_that_was_built_anew_trains_the_same():
    first = run(used(), task("prune", ASKED), start())
    keras.backend.clear_session()
    keras.utils.set_random_seed(123)
    anew = engine()
    run(anew, task("prune", OTHER, seed=2), start())
    require_same(run(anew, task("prune", ASKED), start()), first)


def test_a_seed_decides_the_numbers_that_dropout_draws():
    # the same sample over and over: a seed decides nothing else
    data = noise_for(noisy())
    inputs, targets = (
        tuple(np.repeat(array[:1], 40, axis=0) for array in each) for each in (data.inputs, data.targets)
    )
    runner = CompiledStages(noisy(), replace(data, inputs=inputs, targets=targets))
    first, second = (run(runner, task("prune", ASKED, seed=seed), start()) for seed in (1, 2))
    assert not np.array_equal(first["head"][0], second["head"][0])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_optimizer_remembers_the_task_before(optimizer):
    settings = {"optimizer": optimizer, "optimizer_arguments": OPTIMIZERS[optimizer]}
    first = run(used(), task("prune", ASKED, **settings), start())
    run(used(), task("prune", OTHER, learning_rate=0.1, seed=8, **settings), start())
    require_same(run(used(), task("prune", ASKED, **settings), start()), first)
    assert not np.array_equal(first["head"][1], start()["head"][1])


def test_the_optimizers_that_a_recipe_can_name_are_those_of_keras():
    assert sorted(keras_optimizers()) == sorted(recipe.OPTIMIZERS)


@pytest.mark.parametrize("stage", STAGES)
def test_arguments_that_an_optimizer_does_not_take_are_refused_in_one_line(stage):
    with pytest.raises(ConfigurationError, match=r"sgd.* does not take .*momentun") as told:
        used().prepare(task(stage, ASKED, optimizer="sgd", optimizer_arguments={"momentun": 0.9}))
    assert "\n" not in str(told.value)
