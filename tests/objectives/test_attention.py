"""A policy of a small transformer is in its exported file, which computes what the compressed Keras model computes."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from paretune.objectives.channels.groups import channels_of
from paretune.objectives.costs.vela import require_static_int8
from paretune.objectives.doctor import examine
from paretune.objectives.exporting import Exporter
from paretune.objectives.flatbuffer.graph import read_graph
from paretune.objectives.formats.refusals import refused_formats
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.measure.interpreter import TfliteRunner
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.one_shot import one_shot
from paretune.objectives.working_copy.rewrites import prepare_working_copy
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.stage_recipes import PruneRecipe
from paretune.spaces.errors import Infeasible
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.quantization import Quantization
from tests.objectives.conftest import with_random_weights

pytestmark = pytest.mark.tensorflow

#: By how much a file may differ from the float model, root mean square, relative.
FORMATS = {
    Quantization.FLOAT32: 1e-6,
    Quantization.FLOAT16: 1e-3,
    Quantization.DYNAMIC_INT8: 0.02,
    Quantization.INT8: 0.02,
    Quantization.INT16X8: 0.02,
    Quantization.INT4: 0.3,
}


@cache
def transformer():
    """Norms before attention and before the wide layers; their scales are folded into the kernels that follow."""
    layers = keras.layers
    inputs = keras.Input((6, 5), name="rows")
    x = layers.Dense(12, name="embed")(inputs)
    y = layers.LayerNormalization(name="norm")(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name="attention")(y, y, use_causal_mask=True)])
    x = layers.Add()([x, layers.MultiHeadAttention(1, 8, name="across")(x, inputs)])
    y = layers.LayerNormalization(name="norm_again")(x)
    y = layers.EinsumDense("abc,cd->abd", output_shape=(None, 16), activation="relu", bias_axes="d", name="widen")(y)
    x = layers.Add()([x, layers.Dense(12, name="narrow")(y)])
    head = layers.Dense(3, name="head")(layers.GlobalAveragePooling1D()(x))
    model = with_random_weights(keras.Model(inputs, head), seed=1)
    return prepare_working_copy(model).model


@cache
def samples():
    return [np.random.default_rng(2).normal(size=(16, 6, 5)).astype(np.float32)]


@cache
def exporter():
    return Exporter(transformer(), read_weights(transformer()), samples())


@cache
def layers():
    template, file = exporter().template, exporter().baseline_file
    return {
        spec.name: spec
        for spec in examine(transformer(), refused_formats(template, file, samples()), channels_of(transformer()))
    }


def exported(decided, recipe):
    """Return the file of a policy for all layers, what is wrong with it, and the model that it is of."""
    policy = Policy(tuple((name, decided) for name in layers()))
    pattern = recipe.prune.pattern
    weights = one_shot(transformer(), read_weights(transformer()), policy, pattern=pattern)
    candidate = Candidate(architecture="", recipe=recipe, policy=policy)
    file = exporter().export(weights, {}, candidate)
    return file, file.fidelity(candidate, tuple(layers().values())), fresh_copy(transformer(), weights)


def error(file, model):
    found, expected = TfliteRunner(file).predict(samples())[0], model(samples()[0], training=False).numpy()
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


def test_the_doctor_offers_attention_what_a_file_can_hold():
    for name in ("attention", "across", "widen"):
        spec = layers()[name]
        assert spec.prunable
        assert spec.clusterable
        assert set(spec.quantizations) == set(FORMATS)
        assert spec.refusals["int8_qat"] == f"tfmot has no quantization-aware training for {spec.kind} layers."
        assert "cannot be divided into blocks of 32" in spec.refusals["int4_block"]
    spec = layers()["attention"]
    assert (spec.weight_shape, spec.weights) == ((12, 2, 4), 4 * 12 * 8)
    assert spec.macs == 6 * 4 * 12 * 8 + 2 * 6 * 6 * 8  # four projections, scores and the sums that they weigh
    assert layers()["across"].macs == 6 * (2 * 12 + 2 * 5) * 8 + 2 * 6 * 6 * 8
    assert layers()["widen"].macs == 6 * 12 * 16


def test_a_transformer_is_converted_once():
    """Where the converter moves what a norm shifts into the biases of attention, the file is filled all the same."""
    assert exporter().template.unmatched == ()
    others = with_random_weights(fresh_copy(transformer(), read_weights(transformer())), seed=5)
    assert error(exporter().template.fill(others), others) < FORMATS[Quantization.FLOAT32]


@pytest.mark.parametrize(("form", "allowed"), FORMATS.items())
def test_the_file_of_a_policy_is_as_asked_and_computes_what_the_model_computes(form, allowed):
    file, fidelity, model = exported(LayerPolicy(sparsity=0.5, clusters=6, quantization=form), Recipe())
    assert fidelity.faults == ()
    attention = next(layer for layer in fidelity.layers if layer.layer == "attention")
    assert (attention.weights, attention.stored_as) == (4 * 12 * 8, str(form))
    assert attention.zeros - attention.rounding_zeros == 2 * 12 * 8
    assert error(file.contents, model) < allowed


def test_the_scores_of_attention_stay_float():
    """Next to minus infinity, which masks a score, integers leave nothing of the other scores."""
    decided = LayerPolicy(quantization=Quantization.INT8)
    graph = read_graph(exported(decided, Recipe())[0].contents)
    scores = [operator for operator in graph.operators if operator.kind in ("BATCH_MATMUL", "SOFTMAX")]
    assert [graph.named(each, each.inputs[0]).dtype for each in scores] == ["FLOAT32"] * 6
    with pytest.raises(
        Infeasible, match=r"BATCH_MATMUL '.*' has FLOAT32 with FLOAT32; no format makes integers of it$"
    ):
        require_static_int8(graph)


@pytest.mark.parametrize("pattern", ["2:4", "4x1", "1x2"])
def test_zeros_of_attention_keep_to_a_pattern_in_the_file(pattern):
    recipe = replace(Recipe(), prune=PruneRecipe(pattern=pattern))
    file, fidelity, model = exported(LayerPolicy(sparsity=0.5), recipe)
    assert fidelity.faults == ()
    assert error(file.contents, model) < FORMATS[Quantization.FLOAT32]


def test_a_kernel_of_attention_without_its_zeros_is_told():
    decided = LayerPolicy(sparsity=0.5)
    policy = Policy(tuple((name, decided) for name in layers()))
    weights = one_shot(transformer(), read_weights(transformer()), policy)
    attention = transformer().get_layer("attention")
    dense = next(i for i, each in enumerate(attention.weights) if each is attention._output_dense.kernel)
    weights["attention"][dense] = read_weights(transformer())["attention"][dense]
    candidate = Candidate(architecture="", recipe=Recipe(), policy=policy)
    file = exporter().export(weights, {}, candidate)
    (fault,) = file.fidelity(candidate, tuple(layers().values())).faults
    assert fault == "Layer 'attention' must have 48 of 96 weights zero (sparsity 0.5), found 0 (0)."
