"""Kernels of low rank stored as two, against the file that stores them whole."""

from functools import cache

import numpy as np
import pytest

from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization

pytestmark = pytest.mark.tensorflow

RANK = 3


@pytest.fixture(scope="module")
def architectures(sequence_of):
    from paretune.objectives.keras_door import keras

    layers = keras.layers
    conv, dense, norm, relu = layers.Conv2D, layers.Dense, layers.BatchNormalization, layers.ReLU
    return {
        "dense": lambda: sequence_of(
            (20,), dense(16, "relu", name="a"), norm(), dense(12, use_bias=False, name="b"), dense(11, name="c")
        ),
        "flattened": lambda: sequence_of((4, 4, 2), layers.Flatten(), dense(16, "relu6", name="a"), dense(4)),
        "per_position": lambda: sequence_of((5, 12), dense(14, "gelu", name="a"), layers.Flatten(), dense(4)),
        "convolutions": lambda: sequence_of(
            (9, 8, 3),
            conv(12, 3, strides=2, padding="same", activation="relu", name="a"),
            conv(10, (3, 2), use_bias=False, name="b"),
            norm(),
            relu(),
            conv(12, 1, name="c"),
            layers.Flatten(),
            dense(4),
        ),
        "dilated": lambda: sequence_of((16, 16, 4), conv(8, 3, dilation_rate=2, name="a"), layers.Flatten(), dense(4)),
        "conv1d": lambda: sequence_of(
            (16, 6),
            layers.Conv1D(12, 3, padding="causal", activation="relu", name="a"),
            layers.Conv1D(10, 3, dilation_rate=2, name="b"),
            norm(),
            layers.GlobalAveragePooling1D(),
            dense(4),
        ),
    }


class Split:
    """A model with named layers of low rank, the file of it as it is, and with their kernels as two."""

    def __init__(self, model, inputs):
        from paretune.objectives.kernels.weights import read_weights, write_weights
        from paretune.objectives.ranks.lowering import with_low_ranks
        from paretune.objectives.shrinking.splitting import split_kernels
        from paretune.objectives.templates.template import build_template

        self.ranks = {layer.name: RANK for layer in model.layers if layer.name in "abc"}
        self.policy = Policy(tuple((name, LayerPolicy(rank=rank)) for name, rank in self.ranks.items()))
        write_weights(model, with_low_ranks(model, read_weights(model), self.policy))
        self.inputs, self.whole_template = inputs, build_template(model)
        self.whole = self.whole_template.fill(model)
        self.template, self.file = split_kernels(self.whole_template, self.whole, self.ranks)
        self.model = model

    def outputs(self, file):
        from paretune.objectives.measure.interpreter import TfliteRunner

        return TfliteRunner(file, self.template.input_names, self.template.output_names).predict(self.inputs)[0]

    def fidelity(self, file, form=Quantization.FLOAT32, **changed):
        from paretune.objectives.flatbuffer.reader import read_fidelity

        specs = [
            LayerSpec(name=name, kind="", weight_shape=(1,), weights=1, distinct=1, quantizations=tuple(Quantization))
            for name in self.ranks
        ]
        asked = LayerPolicy(**{"rank": RANK, "quantization": form, **changed})
        policy = Policy(tuple((name, asked) for name in self.ranks))
        return read_fidelity(self.template, self.file, file, policy, specs)


ARCHITECTURES = ("dense", "flattened", "per_position", "convolutions", "dilated", "conv1d")


@pytest.fixture(scope="module")
def split(architectures, inputs_of):
    @cache
    def get(name):
        model = architectures[name]()
        return Split(model, inputs_of(model))

    return get


def off(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_split_file_computes_what_the_whole_one_does(split, name):
    each = split(name)
    assert off(each.outputs(each.file), each.outputs(each.whole)) < 2e-6
    assert off(each.outputs(each.file), each.model(each.inputs[0], training=False).numpy()) < 1e-5


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_two_kernels_meet_in_as_many_channels_as_the_rank(split, name):
    each = split(name)
    found = each.fidelity(each.file)
    assert found.is_clean, found.faults
    for layer in found.layers:
        shape = each.model.get_layer(layer.layer).get_weights()[0].shape
        assert layer.rank == RANK
        assert layer.weights == RANK * (np.prod(shape[:-1]) + shape[-1]) < np.prod(shape)


@pytest.mark.parametrize(
    ("form", "most"),
    [
        (Quantization.FLOAT16, 0.01),
        (Quantization.DYNAMIC_INT8, 0.05),
        (Quantization.INT8, 0.05),
        (Quantization.INT16X8, 0.05),
        (Quantization.INT4, 0.6),
    ],
)
@pytest.mark.parametrize("name", ["dense", "convolutions"])
def test_both_kernels_are_stored_in_the_number_format_of_their_layer(split, name, form, most):
    from paretune.objectives.formats.formats import quantize_file

    each = split(name)
    file = quantize_file(each.template, each.file, dict.fromkeys(each.ranks, form), each.inputs)
    found = each.fidelity(file, form)
    assert found.is_clean, found.faults
    assert {layer.stored_as for layer in found.layers} == {str(form)}
    assert off(each.outputs(file), each.outputs(each.file)) < most


def test_a_rank_that_is_not_in_the_file_is_a_fault(split):
    each = split("dense")
    assert each.fidelity(each.file, rank=2).faults[0] == "Layer 'a' must have rank 2, found kernels of rank 3 and 3."
    assert "as one kernel, found two of rank 3" in each.fidelity(each.file, rank=None).faults[0]
