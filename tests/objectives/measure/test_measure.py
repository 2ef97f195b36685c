"""Running, weighing and timing files."""

import zlib

import numpy as np
import pytest

from paretune.spaces.errors import MeasurementFailed
from paretune.spaces.policies.quantization import Quantization

pytestmark = pytest.mark.tensorflow


def converted(*layers, shape):
    from paretune.objectives.keras_door import keras
    from paretune.objectives.templates.template import build_template

    keras.utils.set_random_seed(4)
    inputs = keras.Input(shape, name="x")
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    model = keras.Model(inputs, outputs)
    template = build_template(model)
    return model, template, template.fill(model)


def samples_for(model, count):
    return np.random.default_rng(0).normal(size=(count, *model.input_shape[1:])).astype(np.float32)


@pytest.fixture(scope="module")
def layers():
    from paretune.objectives.keras_door import keras

    return keras.layers


@pytest.fixture(scope="module")
def cnn(layers):
    return converted(
        layers.Conv2D(6, 3, activation="relu", name="conv"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(4, name="head"),
        shape=(8, 8, 3),
    )


@pytest.fixture(scope="module")
def lstm(layers):
    return converted(layers.LSTM(5), layers.Dense(3, name="head"), shape=(6, 4))


@pytest.fixture(scope="module")
def reshaped(layers):
    """A model whose shape for one sample is baked into the file."""
    return converted(layers.Reshape((4, 3)), layers.Conv1D(2, 2), layers.Flatten(), shape=(12,))


@pytest.mark.parametrize("name", ["cnn", "lstm", "reshaped"])
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_batches_give_what_single_samples_give(name, batch, request):
    from paretune.objectives.measure.interpreter import TfliteRunner

    model, _, file = request.getfixturevalue(name)
    samples = samples_for(model, 17)
    found = TfliteRunner(file).predict([samples], batch=batch)[0]
    assert found.dtype == np.float32
    assert np.allclose(found, model(samples, training=False).numpy(), atol=1e-5)


def test_a_runner_takes_other_numbers_of_samples_later(cnn):
    from paretune.objectives.measure.interpreter import TfliteRunner

    model, _, file = cnn
    runner = TfliteRunner(file)
    for count in (9, 1, 30):
        samples = samples_for(model, count)
        assert np.allclose(runner.predict([samples], batch=8)[0], model(samples).numpy(), atol=1e-5)


def test_integers_at_the_border_are_converted(cnn):
    from ai_edge_quantizer import quantizer, recipe

    from paretune.objectives.flatbuffer.graph import read_graph
    from paretune.objectives.formats.calibration import activation_ranges
    from paretune.objectives.measure.interpreter import TfliteRunner, quiet

    model, template, file = cnn
    samples = samples_for(model, 20)
    ranges = activation_ranges(file, template.input_names, [samples])
    tool = quantizer.Quantizer(file, recipe.static_wi8_ai8())
    with quiet():
        result = tool.quantize(
            {name: {"min": np.array([low]), "max": np.array([high])} for name, (low, high) in ranges.items()}
        )
    integers = bytes(result.quantized_model)
    graph = read_graph(integers)
    assert graph.tensors[0][graph.inputs[0]].dtype == "INT8"
    found, expected = TfliteRunner(integers).predict([samples])[0], model(samples).numpy()
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_nan_is_a_failed_measurement(layers):
    from paretune.objectives.measure.interpreter import TfliteRunner

    model, template, _ = converted(layers.Dense(3, name="d"), shape=(4,))
    model.get_layer("d").set_weights([np.full((4, 3), np.nan), np.zeros(3)])
    with pytest.raises(MeasurementFailed, match="must be finite"):
        TfliteRunner(template.fill(model)).predict([np.ones((2, 4), np.float32)])


@pytest.mark.parametrize("broken", [b"", b"not a model", b"TFL3" * 100])
def test_a_broken_file_is_a_failed_measurement_told_in_one_line(broken):
    from paretune.objectives.measure.interpreter import TfliteRunner

    with pytest.raises(MeasurementFailed) as told:
        TfliteRunner(broken)
    assert "\n" not in str(told.value)


def test_a_name_that_the_signature_lacks_is_told(cnn):
    from paretune.objectives.measure.interpreter import TfliteRunner

    with pytest.raises(MeasurementFailed, match=r"must have the inputs image; it has x\."):
        TfliteRunner(cnn[2], ["image"], ["output_0"])


def test_nothing_is_printed_while_a_file_is_opened(cnn, capfd):
    from paretune.objectives.measure.interpreter import TfliteRunner

    TfliteRunner(cnn[2]).predict([samples_for(cnn[0], 3)])
    assert capfd.readouterr().err == ""


def test_sizes_are_the_file_deflated_and_the_entropy_of_its_constants(layers):
    from paretune.objectives.formats.formats import quantize_file
    from paretune.objectives.measure.sizes import file_sizes

    _, template, file = converted(layers.Dense(64, name="d"), shape=(64,))
    sizes = file_sizes(file)
    assert sizes["raw_bytes"] == len(file)
    assert sizes["size_bytes"] == len(zlib.compress(file, 9))
    entropy = {
        form: file_sizes(quantize_file(template, file, {"d": form}, []))["entropy_bytes"]
        for form in (Quantization.DYNAMIC_INT8, Quantization.INT4)
    }
    weights = 64 * 64
    assert entropy[Quantization.INT4] < 0.5 * weights + 1000
    assert 0.8 * weights < entropy[Quantization.DYNAMIC_INT8] < weights + 1000


def test_constants_of_one_value_need_no_bits(layers):
    from paretune.objectives.measure.sizes import file_sizes

    model, template, _ = converted(layers.Dense(64, name="d"), shape=(64,))
    model.get_layer("d").set_weights([np.zeros((64, 64)), np.zeros(64)])
    empty = file_sizes(template.fill(model))["entropy_bytes"]
    model.get_layer("d").set_weights([np.sign(np.random.default_rng(0).normal(size=(64, 64))), np.zeros(64)])
    assert file_sizes(template.fill(model))["entropy_bytes"] - empty == pytest.approx(64 * 64 / 8, abs=2)


def test_latency_is_a_ratio_of_pairs(cnn, layers):
    from paretune.objectives.measure.latency import measure_latency

    file = cnn[2]
    _, _, larger = converted(
        layers.Conv2D(48, 5, padding="same"), layers.Conv2D(48, 5, padding="same"), shape=(16, 16, 8)
    )
    same, slower = measure_latency(file, file, threads=1), measure_latency(larger, file, threads=1)
    assert same.ratio == pytest.approx(1, abs=0.05)
    assert slower.ratio > 3
    assert same.repeats > 10  # one call of so small a model is too short to be told from nothing
    assert slower.latency_ms > slower.baseline_ms > 0
    assert slower.pairs >= 30
    assert same.spread >= 0


def test_each_file_is_loaded_first_as_often_as_the_other(cnn, lstm, monkeypatch):
    """Where the first of two files comes to lie in memory would count as its speed."""
    from paretune.objectives.measure import latency

    opened = []

    def open_interpreter(file, *, threads):
        opened.append(file)
        return original(file, threads=threads)

    original = latency.open_interpreter
    monkeypatch.setattr(latency, "open_interpreter", open_interpreter)
    latency.measure_latency(cnn[2], lstm[2], threads=1)
    firsts = opened[::2]
    assert firsts.count(cnn[2]) == firsts.count(lstm[2]) == len(opened) / 4 > 1


def test_a_file_does_not_slow_down_the_one_that_is_timed_after_it(layers):
    """LiteRT's dynamic int8 kernels leave AVX registers in a state in which its LSTM kernel takes thrice the time."""
    from paretune.objectives.formats.formats import quantize_file
    from paretune.objectives.measure.latency import measure_latency

    _, template, file = converted(layers.LSTM(48), layers.Dense(32, name="head"), shape=(8, 8))
    dynamic = quantize_file(template, file, {"head": Quantization.DYNAMIC_INT8}, [])
    alone, beside = measure_latency(file, file, threads=1), measure_latency(dynamic, file, threads=1)
    assert beside.baseline_ms < 1.7 * alone.baseline_ms
    assert 0.7 < beside.ratio < 1.5


def test_the_machine_is_described_by_plain_data():
    import json

    from paretune.objectives.measure.latency import machine_facts

    facts = json.loads(json.dumps(machine_facts(2)))
    assert facts["threads"] == 2
    assert facts["cores"] >= 1
    assert facts["cpu"]
