"""Files compiled for Ethos-U; the compiler itself runs where it is installed."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from paretune.objectives.costs.vela import Vela, read_summary, require_static_int8
from paretune.objectives.flatbuffer.graph import read_graph
from paretune.spaces.errors import ConfigurationError, Infeasible, MeasurementFailed
from paretune.spaces.policies.policy import Quantization

HERE = Path(__file__).parent
HAS_VELA = importlib.util.find_spec("ethosu") is not None or shutil.which("vela") is not None
needs_vela = pytest.mark.skipif(not HAS_VELA, reason="Vela is not installed: pip install 'paretune[vela]'")


def test_cycles_and_memory_are_read_from_what_vela_writes():
    """Of a small residual network in static int8, compiled by Vela 5.2 for an Ethos-U55-128."""
    told = read_summary((HERE / "recorded_vela_summary.csv").read_text())
    assert told == {"vela_cycles": 27318.0, "vela_sram_bytes": 12.75 * 1024}


def test_a_file_that_stays_on_the_processor_is_infeasible():
    with pytest.raises(Infeasible, match="nothing of the file runs on the Ethos-U"):
        read_summary((HERE / "recorded_vela_summary_float32.csv").read_text())


def test_another_summary_is_told_as_such():
    with pytest.raises(MeasurementFailed, match="must tell cycles_total"):
        read_summary("experiment,network\ndefault,model\n")


def test_without_vela_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"not installed: pip install 'paretune\[vela\]'\.$"):
        Vela("ethos-u55-128")


@pytest.fixture(scope="module")
def files():
    """The same network with different weights and formats, by name."""
    from paretune.objectives.formats.formats import quantize_file
    from paretune.objectives.keras_door import keras
    from paretune.objectives.templates.template import build_template

    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 3), name="x")
    y = keras.layers.Conv2D(16, 3, activation="relu", name="conv")(image)
    model = keras.Model(image, keras.layers.Dense(64, name="head")(keras.layers.Flatten()(y)))
    template = build_template(model)
    images = np.random.default_rng(1).uniform(size=(16, 8, 8, 3)).astype(np.float32)

    def stored(head):
        return quantize_file(template, template.fill(model), {"conv": Quantization.INT8, "head": head}, (images,))

    found = {"dense": stored(Quantization.INT8), "mixed": stored(Quantization.DYNAMIC_INT8)}
    head = model.get_layer("head")
    kernel, bias = head.get_weights()
    head.set_weights([np.where(np.abs(kernel) < np.quantile(np.abs(kernel), 0.9), 0, kernel), bias])
    return {**found, "sparse": stored(Quantization.INT8)}


@pytest.mark.tensorflow
def test_a_layer_that_is_not_static_int8_is_named_with_what_it_has(files):
    require_static_int8(read_graph(files["dense"]))
    with pytest.raises(
        Infeasible, match=r"FULLY_CONNECTED '.*head.*' has FLOAT32 with INT8; give its layer the format"
    ):
        require_static_int8(read_graph(files["mixed"]))


@needs_vela
@pytest.mark.tensorflow
def test_vela_sees_zeros_in_the_size_of_what_it_compiles(files):
    vela = Vela("ethos-u55-128")
    dense, sparse = vela.measure(files["dense"]), vela.measure(files["sparse"])
    assert sparse["vela_size_bytes"] < 0.8 * dense["vela_size_bytes"]
    assert sparse["vela_cycles"] <= dense["vela_cycles"]
    assert dense["vela_sram_bytes"] > 0
    assert vela.measure(files["dense"]) == dense
    assert "ethos-u55-128" in vela.version()


@needs_vela
def test_an_accelerator_that_vela_does_not_know_is_refused():
    with pytest.raises(ConfigurationError, match=r"`accelerator` must be one of ethos-u55-32, .* got 'ethos-u1'"):
        Vela("ethos-u1")
