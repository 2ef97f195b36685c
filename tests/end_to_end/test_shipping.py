"""An exported file where it is received: an environment without Paretune, and MLflow's registry."""

import io
import json
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.command_line import PATIENCE_SECONDS, Shell

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

SHORT = {"prune": {"epochs": 1}, "cluster": {"epochs": 1}, "quantize": {"epochs": 1}}


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a new environment that has ai-edge-litert and NumPy, from the package index."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    packages = [f"{name}=={version(name)}" for name in ("ai-edge-litert", "numpy")]
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    return python


def test_a_recurrent_file_with_metadata_passes_its_smoke_test_where_nothing_else_is(
    shell: Shell, bare_python: Path
) -> None:
    metadata = {"labels": list(range(10)), "description": "Reads digits row by row."}
    experiment = shell.experiment("rows", "digit_rows", {"recipe": SHORT, "metadata": metadata})
    (shell.folder / "policy.yaml").write_text("layers:\n  '*': {quantization: dynamic_int8}\n")
    folder = shell.folder / shell.run("apply", "policy.yaml", experiment.name, "--to", "shipped").out.strip()
    with zipfile.ZipFile(io.BytesIO((folder / "model.tflite").read_bytes())) as archive:
        assert archive.read("labels.txt").decode().split() == [str(digit) for digit in range(10)]
    done = subprocess.run(
        [bare_python, "-I", folder / "smoke_test.py"], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "All 3 samples agree."


def test_what_is_registered_is_the_file_that_was_exported(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    file = shell.experiment("shipped", "breast_cancer", {"recipe": SHORT})
    shell.run("search", file.name, "--trials", 2)
    ended = shell.run("export", "shipped", "--pick", "knee", "--register", "tumours", "--alias", "champion")
    assert "version 1 of tumours: models:/tumours@champion" in ended.err
    folder = shell.folder / ended.out.strip()
    mlflow.set_tracking_uri(f"sqlite:///{shell.folder / 'runs' / 'mlflow.db'}")
    try:
        registered = mlflow.MlflowClient().get_model_version_by_alias("tumours", "champion")
        model = mlflow.pyfunc.load_model("models:/tumours@champion")
    finally:
        mlflow.set_tracking_uri(None)
    assert registered.tags["sha256"] == json.loads((folder / "measurement.json").read_text())["sha256"]
    with np.load(folder / "example.npz") as example:
        (takes,) = [name for name in example if name.startswith("input:")]
        (gives,) = [name for name in example if name.startswith("output:")]
        np.testing.assert_array_equal(model.predict(example[takes]), example[gives])
