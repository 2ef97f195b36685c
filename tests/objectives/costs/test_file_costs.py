"""What a file costs to run, told from its operators and shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.objectives.costs.arena import Lifetime, arena_bytes, plan
from paretune.objectives.costs.arithmetic import arithmetic_of
from paretune.objectives.costs.file_costs import file_costs
from paretune.objectives.flatbuffer.graph import read_graph
from paretune.spaces.policies.policy import Quantization
from tests.tiny_tflite import sums_of_sums

pytestmark = pytest.mark.tensorflow


def file_of(model):
    from paretune.objectives.templates.template import build_template

    template = build_template(model)
    return template, template.fill(model)


@pytest.fixture(scope="module")
def residual():
    """A model in whose kernels LiteRT asks for no scratch memory, so that its arena holds tensors alone."""
    from paretune.objectives.keras_door import keras

    layers = keras.layers
    keras.utils.set_random_seed(2)
    image = keras.Input((8, 8, 3), name="x")
    stem = layers.Conv2D(8, 1, name="stem")(image)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(stem)
    y = layers.Conv2D(8, 1, name="pointwise")(y)
    y = layers.Add()([stem, y])
    y = layers.Flatten()(y)
    model = keras.Model(image, layers.Dense(5, activation="softmax", name="head")(y))
    for layer in model.layers:  # biases of zeros would be taken for the converter's own
        layer.set_weights([np.random.default_rng(0).normal(size=each.shape) for each in layer.get_weights()])
    return model, *file_of(model)


def in_format(residual, form, layers=("stem", "depthwise", "pointwise", "head")):
    from paretune.objectives.formats.formats import quantize_file

    _, template, file = residual
    images = np.random.default_rng(1).uniform(size=(16, 8, 8, 3)).astype(np.float32)
    return quantize_file(template, file, dict.fromkeys(layers, form), (images,))


def test_multiplications_of_a_file_are_those_of_its_layers():
    from paretune.objectives.keras_door import keras
    from paretune.objectives.kernels.macs import count_macs

    layers = keras.layers
    image = keras.Input((8, 8, 2))
    y = layers.Conv2D(4, 3, padding="same", strides=2)(image)
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(y)
    y = layers.SeparableConv2D(6, 3, padding="same")(y)
    y = layers.Conv2DTranspose(2, 2, strides=2)(y)
    y = layers.Reshape((8, 16))(y)
    y = layers.Conv1D(5, 3)(y)
    y = layers.LSTM(7, return_sequences=True)(y)
    y = layers.GRU(4)(y)  # a loop in the file, whose body counts once a step
    model = keras.Model(image, layers.Dense(3)(y))
    values = file_costs(file_of(model)[1])
    assert values["macs"] == sum(count_macs(layer) for layer in model.layers)


@pytest.mark.parametrize(
    ("form", "bits"),
    [
        (Quantization.FLOAT16, 32 * 32),  # made float32 before it is multiplied
        (Quantization.DYNAMIC_INT8, 8 * 8),
        (Quantization.INT8, 8 * 8),
        (Quantization.INT16X8, 8 * 16),
        (Quantization.INT4, 4 * 8),
    ],
)
def test_bits_are_those_of_the_factors_as_they_are_multiplied(residual, form, bits):
    before = {each.kind: each for each in arithmetic_of(read_graph(residual[2]))}
    layers = ("stem", "pointwise", "head")
    after = file_costs(in_format(residual, form, layers))
    kept = before["DEPTHWISE_CONV_2D"].bit_operations
    assert after["macs"] == 8 * 8 * (3 * 8 + 9 * 8 + 8 * 8) + 8 * 8 * 8 * 5
    assert after["bit_operations"] == (after["macs"] - before["DEPTHWISE_CONV_2D"].macs) * bits + kept


def test_what_is_left_float_counts_at_full_width(residual):
    mixed = file_costs(in_format(residual, Quantization.INT8, ("head",)))
    head = 8 * 8 * 8 * 5
    assert mixed["bit_operations"] == head * 64 + (mixed["macs"] - head) * 1024


@pytest.mark.parametrize("form", [None, Quantization.INT8, Quantization.INT16X8, Quantization.FLOAT16])
def test_parameters_are_the_weights_whatever_their_format(residual, form):
    model, _, file = residual
    file = file if form is None else in_format(residual, form)
    assert file_costs(file)["parameters"] == model.count_params()


def test_an_arena_is_as_large_as_the_one_that_litert_allocates(residual):
    assert arena_bytes(read_graph(residual[2])) == allocated(residual[2])


def test_sums_that_nobody_else_reads_are_written_in_place():
    file = sums_of_sums()
    inputs_and_three_sums = 5 * 64 - (64 - 16)  # aligned, but for the last
    assert arena_bytes(read_graph(file)) == allocated(file) == inputs_and_three_sums


def allocated(file):
    """Return from where to where LiteRT's own tensors lie."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=file, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    arrays = [
        interpreter.tensor(number)()
        for number, tensor in enumerate(read_graph(file).tensors[0])
        if not tensor.is_constant
    ]
    spans = [(array.__array_interface__["data"][0], array.nbytes) for array in arrays]
    return max(start + size for start, size in spans) - min(start for start, _ in spans)


def test_integer_activations_need_less_memory_and_half_precision_more(residual):
    full, integers, half = (
        file_costs(each)["arena_bytes"]
        for each in (residual[2], in_format(residual, Quantization.INT8), in_format(residual, Quantization.FLOAT16))
    )
    assert integers < full < half
    assert half - full >= 4 * 8 * 8 * 8 * 5  # the kernel of the head, made float32


tensors = st.builds(
    lambda size, first, length: Lifetime(bytes=size, first=first, last=first + length),
    st.integers(1, 5000),
    st.integers(0, 12),
    st.integers(0, 6),
)


@given(st.lists(tensors, max_size=15))
def test_a_plan_holds_what_lives_at_the_same_time_and_no_more_than_all(lifetimes):
    peak = max(
        (sum(each.bytes for each in lifetimes if each.first <= step <= each.last) for step in range(20)), default=0
    )
    assert peak <= plan(lifetimes) <= sum(-(-each.bytes // 64) * 64 for each in lifetimes)


def test_tensors_that_never_meet_share_a_place_and_a_gap_is_filled():
    apart = [Lifetime(bytes=640, first=0, last=1), Lifetime(bytes=640, first=2, last=3)]
    assert plan(apart) == 640
    beside = [
        Lifetime(bytes=1280, first=0, last=1),
        Lifetime(bytes=640, first=1, last=3),  # behind the first
        Lifetime(bytes=576, first=2, last=3),  # where the first was
    ]
    assert plan(beside) == 1920


def test_energy_is_what_the_table_says():
    """Of one fully connected layer: 20 products in float32, their weights and activations in the smallest memory."""
    from paretune.objectives.keras_door import keras

    numbers = keras.Input((5,))
    file = file_of(keras.Model(numbers, keras.layers.Dense(4)(numbers)))[1]
    graph = read_graph(file)
    (dense,) = (operator for operator in graph.operators if operator.kind == "FULLY_CONNECTED")
    moved = sum(4 * graph.named(dense, number).elements for number in (*dense.inputs, *dense.outputs) if number >= 0)
    assert file_costs(file)["energy_nj"] == pytest.approx((20 * (3.7 + 0.9) + moved / 8 * 10) / 1e3)
