"""Zeros keep to a sparsity pattern: as tfmot has it where it can, and in every kind of layer."""

from functools import cache

import pytest

from paretune.objectives.engine.numerics import AS_TFMOT, FAST
from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.keras_door import keras, tfmot
from paretune.objectives.kernels.patterns import crowded_groups, view_of, why_unstructured, zero_blocks
from paretune.objectives.kernels.weights import compressed_variables, read_weights
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.ramps import ramp_of
from paretune.objectives.reference.fitting import fit
from paretune.objectives.reference.prune import _schedule
from paretune.objectives.reference.stages import ReferenceStages
from paretune.objectives.reference.wrapping import wrap_layers
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.policies.patterns import PATTERNS, TWO_OF_FOUR, UNSTRUCTURED, block_of
from paretune.spaces.policies.policy import LayerPolicy
from tests.objectives.engine.small_models import QAT, noise_for, policy, require_same, run, task

pytestmark = pytest.mark.tensorflow

#: Tracing a graph for every pattern takes seconds: one with blocks and one without stand for the others.
EVERY = [
    pattern if pattern == TWO_OF_FOUR else pytest.param(pattern, marks=pytest.mark.slow)
    for pattern in PATTERNS
    if pattern != UNSTRUCTURED
]
STRUCTURED = [pattern for pattern in PATTERNS if pattern != UNSTRUCTURED]
HALF = LayerPolicy(sparsity=0.5)


def matrices():
    """Inputs that no block or group divides, and fours of them."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((10,))
    x = keras.layers.Dense(12, activation="relu", name="uneven")(inputs)
    x = keras.layers.Dense(7, activation="relu", name="even")(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="head")(x))


def convolutions():
    keras.utils.set_random_seed(2)
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, activation="relu", name="narrow")(inputs)
    x = layers.Conv2D(6, 2, activation="relu", name="conv")(x)
    x = layers.Conv2DTranspose(5, 2, name="transpose")(x)
    x = layers.SeparableConv2D(7, 3, padding="same", name="separable")(x)
    x = layers.Reshape((16, 7), name="rows")(x)
    x = layers.Conv1D(6, 3, name="conv1d")(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(layers.Flatten(name="flat")(x)))


MODELS = {"matrices": matrices, "convolutions": convolutions}
LAYERS = {
    "matrices": ("uneven", "even", "head"),
    "convolutions": ("narrow", "conv", "transpose", "separable", "conv1d", "head"),
}


@cache
def model_of(name):
    return MODELS[name]()


@cache
def data_of(name):
    return noise_for(model_of(name))


@cache
def compiled(name, numerics):
    return CompiledStages(model_of(name), data_of(name), numerics=numerics)


def everywhere(name, decided):
    return policy(**dict.fromkeys(LAYERS[name], decided))


def by_tfmot_alone(name, asked, layers, **arguments):
    """Train with ``prune_low_magnitude`` as tfmot documents it, and nothing of ours around it."""
    model = model_of(name)
    keras.utils.set_random_seed(asked.seed)

    def wrap(layer):
        if layer.name not in layers:
            return layer
        schedule = _schedule(ramp_of(asked), asked.policy[layer.name].sparsity, dead=0.0)
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule, **arguments)

    wrapped = wrap_layers(fresh_copy(model, read_weights(model)), wrap)
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    fit(wrapped, data_of(name), asked, Meter(Limit()), callbacks=callbacks)
    return read_weights(tfmot.sparsity.keras.strip_pruning(wrapped))


@pytest.mark.parametrize("pattern", EVERY)
def test_a_pattern_is_bitwise_that_of_tfmot_in_dense_layers(pattern):
    layers = ("uneven", "even")
    asked = task("prune", policy(**dict.fromkeys(layers, HALF)), pattern=pattern, frequency=2)
    own = {"sparsity_m_by_n": (2, 4)} if pattern == TWO_OF_FOUR else {"block_size": block_of(pattern)}
    if pattern == TWO_OF_FOUR:  # tfmot knows no more zeros than those of the pattern: 4 and 4 of 10, 6 of 12
        asked = task("prune", policy(uneven=LayerPolicy(sparsity=0.4), even=HALF), pattern=pattern)
    expected = by_tfmot_alone("matrices", asked, layers, **own)
    start = read_weights(model_of("matrices"))
    for runner in (compiled("matrices", AS_TFMOT), compiled("matrices", FAST), reference("matrices")):
        require_same(run(runner, asked, start), expected)


def reference(name):
    return ReferenceStages(model_of(name), data_of(name))


@pytest.mark.slow
def test_two_of_four_is_bitwise_that_of_tfmot_in_a_convolution():
    asked = task("prune", policy(conv=HALF), pattern=TWO_OF_FOUR)
    expected = by_tfmot_alone("convolutions", asked, ("conv",), sparsity_m_by_n=(2, 4))
    require_same(run(compiled("convolutions", FAST), asked, read_weights(model_of("convolutions"))), expected)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["4x1", TWO_OF_FOUR])
def test_both_flows_prune_every_kind_of_layer_alike(pattern):
    decided = everywhere("convolutions", LayerPolicy(sparsity=0.65))  # no half a weight to round on the way
    asked, start = task("prune", decided, pattern=pattern, frequency=2), read_weights(model_of("convolutions"))
    ours = run(compiled("convolutions", AS_TFMOT), asked, start)
    require_same(ours, run(reference("convolutions"), asked, start))


def kernels(name, weights):
    for layer in LAYERS[name]:
        own = model_of(name).get_layer(layer)
        for variable in compressed_variables(own):
            values = weights[layer][next(index for index, each in enumerate(own.weights) if each is variable)]
            view = view_of(type(own).__name__, values.shape)
            yield layer, values, view


@pytest.mark.parametrize("pattern", STRUCTURED)
@pytest.mark.parametrize("name", ["matrices", pytest.param("convolutions", marks=pytest.mark.slow)])
def test_zeros_keep_to_their_pattern_through_all_stages(name, pattern):
    decided = everywhere(name, LayerPolicy(sparsity=0.6, clusters=5, quantization=QAT))
    weights = read_weights(model_of(name))
    prune = task("prune", decided, pattern=pattern, frequency=2)
    weights = run(compiled(name, FAST), prune, weights)
    for stage in ("cluster", "quantize"):
        weights = run(compiled(name, FAST), task(stage, decided), weights)
    fitted = 0
    for layer, values, view in kernels(name, weights):
        is_zero = view.of(values) == 0
        if why_unstructured(pattern, view):
            assert is_zero.mean() == pytest.approx(0.6, abs=1 / values.size), layer
            continue
        fitted += 1
        if pattern == TWO_OF_FOUR:
            assert crowded_groups(is_zero)[0] == 0, layer
            assert is_zero.mean() >= 0.6 - 1 / values.size, layer
        else:
            zero, blocks = zero_blocks(is_zero.reshape(view.rows, view.outputs), pattern)
            assert zero >= blocks - round(blocks * 0.4), layer
            assert is_zero.mean() < 0.8, layer
    assert fitted >= 2
