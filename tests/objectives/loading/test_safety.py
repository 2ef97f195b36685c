"""Model files that must not reach Keras, and harmless ones that must."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from paretune.objectives.loading.model_file import read_model_file
from paretune.objectives.loading.safety import check_config
from paretune.spaces.errors import ModelRefused

DENSE = {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {"name": "d", "units": 2}}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": list(layers)}}


def dense(**changes: Any) -> dict[str, Any]:
    return {**DENSE, "config": {**DENSE["config"], **changes}}  # type: ignore[dict-item]


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ModelRefused) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def keras_file(path: Path, config: Any = None, *, more: dict[str, bytes] | None = None) -> Path:
    """Write a `.keras` file by hand, without weights."""
    weights = path.with_suffix(".weights")
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 2))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config or sequential(DENSE)))
        archive.write(weights, "model.weights.h5")
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return path


def hdf5_file(path: Path, change: Callable[[Any], Any] = lambda file: None, config: Any = None) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config or sequential(DENSE))
        file.attrs["keras_version"] = "2.15.0"
        file["model_weights/d/kernel"] = np.ones((3, 2))
        change(file)
    return path


def test_harmless_files_are_read(tmp_path: Path) -> None:
    zipped = read_model_file(keras_file(tmp_path / "m.keras"), trust=False)
    assert (zipped.is_keras_3, zipped.config["class_name"]) == (True, "Sequential")
    plain = read_model_file(hdf5_file(tmp_path / "m.h5"), trust=False)
    assert (plain.is_keras_3, plain.keras_version) == (False, "2.15.0")


@pytest.mark.parametrize(
    "layer",
    [
        dense(activation="relu", kernel_initializer="glorot_uniform", dtype={"class_name": "Policy", "config": {}}),
        dense(kernel_initializer={"module": "keras.initializers", "class_name": "HeNormal", "config": {"seed": None}}),
        {"class_name": "Bidirectional", "config": {"name": "b", "layer": {"class_name": "LSTM", "config": {}}}},
        {"class_name": "TFOpLambda", "config": {"name": "relu", "function": "nn.relu"}},
        {"module": "keras.src.ops.numpy", "class_name": "Add", "registered_name": "Add", "config": {"name": "add"}},
        {**sequential(DENSE), "compile_config": {"optimizer": {"class_name": "Adam", "config": {"name": "adam"}}}},
    ],
)
def test_built_in_parts_are_harmless(layer: dict[str, Any]) -> None:
    check_config(sequential(layer))


def test_what_the_model_was_compiled_with_does_not_matter() -> None:
    check_config({**sequential(DENSE), "compile_config": {"loss": {"class_name": "function", "config": "my_loss"}}})
    nested = {**sequential(DENSE), "compile_config": {"loss": {"class_name": "function", "config": "my_loss"}}}
    assert "my_loss" in refused(lambda: check_config(sequential(nested)))


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (
            {"class_name": "Lambda", "config": {"name": "lambda_3", "function": ["4wEA", None, None]}},
            "Layer 'lambda_3' runs code when the model is loaded. "
            "Pass --trust-model (trust_model=True) if you wrote this file.",
        ),
        ({"class_name": "TFSMLayer", "config": {"name": "t", "filepath": "/x"}}, "Layer 't' runs code"),
        (dense(activation={"class_name": "__lambda__", "config": {"value": "4wEA"}}), "Layer 'd' runs code"),
        (dense(extra=[{"deep": {"bytecode": "4wEA"}}]), "Layer 'd' runs code when the model is loaded (`bytecode`)"),
        (
            {"class_name": "Bidirectional", "config": {"name": "b", "layer": {"class_name": "Lambda", "config": {}}}},
            "Layer 'b' runs code",
        ),
        (
            {"module": "mine.layers", "class_name": "Own", "registered_name": "mine>Own", "config": {"name": "own"}},
            "Layer 'own' needs 'mine>Own' of 'mine.layers', which is not on the list",
        ),
        ({**DENSE, "module": "os"}, "Layer 'd' needs 'Dense' of 'os'"),
        ({**DENSE, "module": "kerasmate.layers"}, "of 'kerasmate.layers'"),
        ({**DENSE, "registered_name": "mine>Dense"}, "'mine>Dense'"),
        ({"module": "keras.utils", "class_name": "get_file", "config": {"name": "f"}}, "'get_file' of 'keras.utils'"),
        ({"class_name": 3, "config": {"name": "odd"}}, "is no text"),
        (dense(activation="my_activation"), "Layer 'd' uses `activation: my_activation`"),
        (dense(kernel_initializer="my_init"), "Layer 'd' uses `kernel_initializer: my_init`"),
        (
            dense(activation={"module": "builtins", "class_name": "function", "config": "exec"}),
            "Layer 'd' needs the function 'exec', which comes from elsewhere.",
        ),
        (
            {"class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}},
            "Layer 'w' calls 'tf.io.write_file'",
        ),
        (dense(spec={"class_name": "__typespec__", "module": "os", "spec_name": "x", "config": []}), "'__typespec__'"),
        (
            {"module": "keras.src.ops.core", "class_name": "Map", "registered_name": "Map", "config": {"name": "map"}},
            "Layer 'map' needs 'Map'",
        ),
        ({"module": "keras.layers", "class_name": "Relu6", "config": {"name": "r"}}, "Layer 'r' needs 'Relu6'"),
    ],
)
def test_anything_else_is_refused_naming_the_layer(layer: dict[str, Any], told: str) -> None:
    message = refused(lambda: check_config(sequential(layer)))
    assert told in message
    assert message.endswith("Pass --trust-model (trust_model=True) if you wrote this file.")


@pytest.mark.parametrize("config", [[], {"class_name": "Sequential"}, {"class_name": "Sequential", "config": "x"}])
def test_a_configuration_of_another_form_is_refused(config: Any) -> None:
    assert "must be a JSON object" in refused(lambda: check_config(config))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("/etc/cron.d/x", "points outside of the archive"),
        ("../x", "points outside of the archive"),
        ("assets/../../x", "points outside of the archive"),
        ("C:/x", "points outside of the archive"),
        ("..\\x", "points outside of the archive"),
        ("config.json", "two members named 'config.json'"),
        ("extra.pkl", "'extra.pkl' is none of metadata.json, config.json, model.weights.h5"),
    ],
)
def test_archive_with_odd_members_is_refused_unless_trusted(tmp_path: Path, name: str, told: str) -> None:
    path = keras_file(tmp_path / "m.keras", more={name: json.dumps(sequential(DENSE)).encode()})
    assert told in refused(lambda: read_model_file(path, trust=False))
    assert read_model_file(path, trust=True).config["class_name"] == "Sequential"


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (
            {"class_name": "StringLookup", "config": {"name": "s", "vocabulary": "/etc/passwd"}},
            "(StringLookup) reads text",
        ),
        (dense(dtype={"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}), "quantized by Keras already"),
        (
            dense(quantization_config={"class_name": "Int8QuantizationConfig", "config": {}}),
            "quantized by Keras already",
        ),
    ],
)
def test_what_no_trust_would_help_is_refused_with_what_to_do(layer: dict[str, Any], told: str) -> None:
    message = refused(lambda: check_config(sequential(layer)))
    assert message.startswith("Layer ")
    assert told in message
    assert "save the model" in message
    assert "--trust-model" not in message


def test_archive_that_expands_beyond_measure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(65 * 2**20))
    assert "expands to" in refused(lambda: read_model_file(path, trust=False))


def test_hdf5_that_declares_data_beyond_measure_is_refused(tmp_path: Path) -> None:
    path = hdf5_file(tmp_path / "m.h5", lambda file: file.create_dataset("big", (2**30, 4), "f8", chunks=(1024, 4)))
    assert "GiB of content" in refused(lambda: read_model_file(path, trust=False))


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (3,))
    file.create_virtual_dataset("v", layout)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: file.__setitem__("out", h5py.ExternalLink("/etc/x.h5", "/y")), "'/out' is a link to '/etc/x.h5'"),
        (lambda file: file.__setitem__("model_weights/s", h5py.SoftLink("/d")), "'/model_weights/s' is a link to '/d'"),
        (
            lambda file: file.create_dataset("e", (4,), "u1", external=[("/etc/hostname", 0, 4)]),
            "'/e' keeps its values in another file",
        ),
        (virtual, "'/v' keeps its values in another file"),
    ],
)
def test_hdf5_that_reaches_into_other_files_is_refused_unless_trusted(
    tmp_path: Path, change: Callable[[Any], Any], told: str
) -> None:
    path = hdf5_file(tmp_path / "m.h5", change)
    assert told in refused(lambda: read_model_file(path, trust=False))
    assert read_model_file(path, trust=True).config["class_name"] == "Sequential"


def test_hdf5_inside_an_archive_is_looked_at_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["out"] = h5py.ExternalLink("/etc/x.h5", "/y")
    path = keras_file(tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        config, metadata = archive.read("config.json"), archive.read("metadata.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("metadata.json", metadata)
        archive.write(tmp_path / "linked.h5", "model.weights.h5")
    assert "is a link to '/etc/x.h5'" in refused(lambda: read_model_file(path, trust=False))


def test_groups_that_hold_each_other_are_visited_once(tmp_path: Path) -> None:
    path = hdf5_file(tmp_path / "m.h5", lambda file: file.__setitem__("model_weights/up", file["/"]))
    assert read_model_file(path, trust=False).config["class_name"] == "Sequential"


def test_deep_nesting_is_refused_or_read_without_a_crash(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in ("metadata.json", "model.weights.h5")}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Sequential", "config": ' + "[" * 200_000 + "]" * 200_000 + "}")
        for name, content in kept.items():
            archive.writestr(name, content)
    assert "is no JSON" in refused(lambda: read_model_file(path, trust=False))
