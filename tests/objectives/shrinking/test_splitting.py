"""Kernels of low rank stored as two, against the file that stores them whole."""

from functools import cache

import numpy as np
import pytest

from paretune.spaces.policies.decompositions import CHANNELS, SPATIAL, largest_rank, matrix_shape
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.quantization import Quantization

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
        "strided": lambda: sequence_of(
            (11, 14, 4),
            conv(9, (3, 5), strides=(2, 1), activation="relu", name="a"),
            conv(10, (4, 2), strides=(1, 3), padding="same", use_bias=False, name="b"),
            norm(),
            relu(),
            conv(11, 3, strides=2, padding="same", name="c"),
            layers.Flatten(),
            dense(4),
        ),
        "dilated_along_an_axis": lambda: sequence_of(
            (13, 9, 4),
            conv(8, 3, dilation_rate=(3, 1), padding="same", activation="relu6", name="a"),
            conv(9, (2, 3), dilation_rate=(1, 2), name="b"),
            layers.Flatten(),
            dense(4),
        ),
        "lines": lambda: sequence_of(
            (9, 8, 5),
            conv(12, (1, 3), padding="same", name="a"),
            conv(10, (4, 1), name="b"),
            layers.Flatten(),
            dense(4),
        ),
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

    def __init__(self, model, inputs, how=CHANNELS, rank_of=lambda layer: RANK):
        from paretune.objectives.kernels.weights import read_weights, write_weights
        from paretune.objectives.ranks.lowering import with_low_ranks
        from paretune.objectives.shrinking.splitting import split_kernels
        from paretune.objectives.templates.template import build_template

        self.how, self.ranks = how, {layer.name: rank_of(layer) for layer in model.layers if layer.name in "abc"}
        self.policy = Policy(tuple((name, LayerPolicy(rank=rank)) for name, rank in self.ranks.items()))
        write_weights(model, with_low_ranks(model, read_weights(model), self.policy, how))
        self.inputs, self.whole_template = inputs, build_template(model)
        self.whole = self.whole_template.fill(model)
        self.template, self.file = split_kernels(self.whole_template, self.whole, self.ranks, how)
        self.model = model

    def outputs(self, file):
        from paretune.objectives.measure.interpreter import TfliteRunner

        return TfliteRunner(file, self.template.input_names, self.template.output_names).predict(self.inputs)[0]

    def fidelity(self, file, form=Quantization.FLOAT32, how="", **changed):
        from paretune.objectives.flatbuffer.reader import read_fidelity

        specs = [
            LayerSpec(name=name, kind="", weight_shape=(1,), weights=1, distinct=1, quantizations=tuple(Quantization))
            for name in self.ranks
        ]
        asked = {
            name: LayerPolicy(**{"rank": rank, "quantization": form, **changed}) for name, rank in self.ranks.items()
        }
        return read_fidelity(
            self.template, self.file, file, Policy(tuple(asked.items())), specs, decomposition=how or self.how
        )


ARCHITECTURES = (
    *((name, CHANNELS) for name in ("dense", "flattened", "per_position", "convolutions", "dilated", "conv1d")),
    *((name, SPATIAL) for name in ("convolutions", "dilated", "strided", "dilated_along_an_axis")),
    *((name, SPATIAL) for name in ("dense", "lines", "conv1d")),  # which have no window, and are split by channels
)


@pytest.fixture(scope="module")
def split(architectures, inputs_of):
    @cache
    def get(name, how=CHANNELS, **settings):
        model = architectures[name]()
        return Split(model, inputs_of(model), how, **settings)

    return get


def off(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(("name", "how"), ARCHITECTURES)
def test_a_split_file_computes_what_the_whole_one_does(split, name, how):
    each = split(name, how)
    assert off(each.outputs(each.file), each.outputs(each.whole)) < 2e-6
    assert off(each.outputs(each.file), each.model(each.inputs[0], training=False).numpy()) < 1e-5


def sides(layer, how):
    return matrix_shape(layer.get_weights()[0].shape, how)


@pytest.mark.parametrize("name", ["convolutions", "strided", "dilated_along_an_axis"])
def test_at_full_rank_two_kernels_compute_what_the_trained_model_does(split, architectures, name):
    each = split(name, SPATIAL, rank_of=lambda layer: min(sides(layer, SPATIAL)))
    assert all(rank > RANK for rank in each.ranks.values())
    trained = architectures[name]()
    assert off(each.outputs(each.file), trained(each.inputs[0], training=False).numpy()) < 1e-5
    assert each.fidelity(each.file).is_clean


@pytest.mark.parametrize(("name", "how"), ARCHITECTURES)
def test_two_kernels_meet_in_as_many_channels_as_the_rank(split, name, how):
    each = split(name, how)
    found = each.fidelity(each.file)
    assert found.is_clean, found.faults
    for layer in found.layers:
        keras_layer = each.model.get_layer(layer.layer)
        assert layer.rank == RANK <= largest_rank(keras_layer.get_weights()[0].shape, how)
        assert layer.weights == RANK * sum(sides(keras_layer, how))


def test_the_first_of_two_goes_over_every_column_and_the_second_over_the_rows_that_are_left(split):
    from paretune.objectives.costs.file_costs import file_costs

    each = split("strided", SPATIAL)
    other = sum(np.prod(size) for size in ((5, 10, 9, 60), (5, 4, 10, 72), (3, 2, 11, 90)))  # the whole ones
    head = file_costs(each.whole)["macs"] - other
    columns = 5 * 14 * 3 * 4 + 5 * 10 * 4 * 9 + 3 * 4 * 3 * 10
    rows = 5 * 10 * 9 * 5 + 5 * 4 * 10 * 2 + 3 * 2 * 11 * 3
    assert file_costs(each.file)["macs"] - head == RANK * (columns + rows)


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
@pytest.mark.parametrize(("name", "how"), [("dense", CHANNELS), ("convolutions", CHANNELS), ("strided", SPATIAL)])
def test_both_kernels_are_stored_in_the_number_format_of_their_layer(split, name, how, form, most):
    from paretune.objectives.formats.formats import quantize_file

    each = split(name, how)
    file = quantize_file(each.template, each.file, dict.fromkeys(each.ranks, form), each.inputs)
    found = each.fidelity(file, form)
    assert found.is_clean, found.faults
    assert {layer.stored_as for layer in found.layers} == {str(form)}
    assert off(each.outputs(file), each.outputs(each.file)) < most


def test_a_rank_that_is_not_in_the_file_is_a_fault(split):
    each = split("dense")
    assert each.fidelity(each.file, rank=2).faults[0] == "Layer 'a' must have rank 2, found kernels of rank 3 and 3."
    assert "as one kernel, found two of rank 3" in each.fidelity(each.file, rank=None).faults[0]


def test_kernels_that_are_split_in_the_other_way_are_a_fault(split):
    by_channels, spatial = (split("strided", how).fidelity for how in (CHANNELS, SPATIAL))
    (fault, *_) = spatial(split("strided", SPATIAL).file, how=CHANNELS).faults
    assert fault == "Layer 'a' must have kernels of windows 3x5 and 1x1, found 3x1 and 1x5."
    (fault, *_) = by_channels(split("strided", CHANNELS).file, how=SPATIAL).faults
    assert fault == "Layer 'a' must have kernels of windows 3x1 and 1x5, found 3x5 and 1x1."
    assert "must have rank 2, found kernels of rank 3" in spatial(split("strided", SPATIAL).file, rank=2).faults[0]
