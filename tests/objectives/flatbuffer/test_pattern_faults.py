"""Sparsity patterns, told from the exported file, whatever the order of axes there."""

import numpy as np
import pytest

from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.patterns import PATTERNS, UNSTRUCTURED
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization

pytestmark = pytest.mark.tensorflow

STRUCTURED = [pattern for pattern in PATTERNS if pattern != UNSTRUCTURED]


class Patterned:
    """A model whose kernels are pruned to a pattern, and its files."""

    def __init__(self, model, inputs):
        from paretune.objectives.kernels.weights import compressed_variables, read_weights
        from paretune.objectives.templates.template import build_template

        self.model, self.inputs = model, inputs
        self.template, self.weights = build_template(model), read_weights(model)
        self.layers = [layer for layer in model.layers if compressed_variables(layer)]
        self.specs = [
            LayerSpec(name=layer.name, kind=type(layer).__name__, weight_shape=(1,), weights=1, distinct=1)
            for layer in self.layers
        ]

    def policy(self, form):
        decided = LayerPolicy(sparsity=0.5, quantization=form)
        return Policy(tuple((layer.name, decided) for layer in self.layers))

    def faults(self, pattern, *, read_as, form=Quantization.FLOAT32):
        from paretune.objectives.flatbuffer.reader import read_fidelity
        from paretune.objectives.formats.formats import quantize_file
        from paretune.objectives.kernels.weights import write_weights
        from paretune.objectives.pipeline.one_shot import one_shot

        policy = self.policy(form)
        write_weights(self.model, one_shot(self.model, self.weights, policy, pattern=pattern))
        float_file = self.template.fill(self.model)
        exported = quantize_file(
            self.template, float_file, dict.fromkeys((name for name, _ in policy.items()), form), self.inputs
        )
        fidelity = read_fidelity(self.template, float_file, exported, policy, self.specs, pattern=read_as)
        return {layer.layer: layer.faults for layer in fidelity.layers if layer.faults}


@pytest.fixture(scope="module")
def images(sequence_of, inputs_of):
    from paretune.objectives.keras_door import keras

    layers = keras.layers
    model = sequence_of(
        (8, 8, 6),
        layers.Conv2D(8, 3, name="conv"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2DTranspose(6, 2, name="transpose"),
        layers.SeparableConv2D(7, 4, name="separable"),
        layers.Reshape((16, 7)),
        layers.Conv1D(9, 3, name="conv1d"),
        layers.Bidirectional(layers.LSTM(5), name="both_ways"),
        layers.Dense(8, name="dense"),
    )
    return Patterned(model, inputs_of(model))


@pytest.fixture(scope="module")
def words(inputs_of):
    from paretune.objectives.keras_door import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), dtype="int32")
    x = keras.layers.Flatten()(keras.layers.Embedding(9, 6, name="words")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(5, name="dense")(x))
    return Patterned(model, inputs_of(model))


@pytest.mark.parametrize("form", [Quantization.FLOAT32, Quantization.DYNAMIC_INT8])
@pytest.mark.parametrize("pattern", STRUCTURED)
@pytest.mark.parametrize("name", ["images", "words"])
def test_a_file_whose_zeros_keep_to_their_pattern_is_clean(name, pattern, form, request):
    assert request.getfixturevalue(name).faults(pattern, read_as=pattern, form=form) == {}


@pytest.mark.parametrize("pattern", STRUCTURED)
def test_zeros_anywhere_are_a_fault_of_every_layer_that_the_pattern_fits(images, words, pattern):
    assert set(images.faults(UNSTRUCTURED, read_as=pattern)) == {layer.name for layer in images.layers}
    assert set(words.faults(UNSTRUCTURED, read_as=pattern)) == {layer.name for layer in words.layers}


def test_a_fault_says_what_must_hold_and_what_was_found(words):
    assert words.faults("4x1", read_as="2:4")["dense"] == (
        "Layer 'dense' must have at most 2 of 4 weights other than zero, 15 of 30 have more.",
    )
    (fault,) = words.faults("2:4", read_as="4x1")["dense"]
    assert fault.startswith("Layer 'dense' must have 15 of 30 blocks of 4x1 zero, found ")


def test_kernels_that_a_pattern_does_not_fit_may_have_their_zeros_anywhere(inputs_of):
    from paretune.objectives.keras_door import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(4, name="narrow")(inputs))
    narrow = Patterned(model, inputs_of(model))
    for pattern in ("1x4", "4x1", "2:4"):
        assert narrow.faults(pattern, read_as=pattern) == {}
        assert np.mean(model.get_layer("narrow").get_weights()[0] == 0) == 0.5
