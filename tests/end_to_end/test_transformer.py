"""A transformer saved by Keras 3, from the doctor to a file that a script outside the project scores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paretune.objectives import zoo
from tests.end_to_end.command_line import PATIENCE_SECONDS, Shell

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

EXPERIMENT = """
name: rows
model: rows.keras
data: data.npz
task: {kind: classification, metric: accuracy}
space: {sparsity: [0, 0.5, 0.8], clusters: [none, 16], quantization: [float32, dynamic_int8, int8]}
objectives: [accuracy, size_bytes]
recipe:
  prune: {epochs: 4, learning_rate: 0.003, batch_size: 64}
  cluster: {epochs: 3, learning_rate: 0.002, batch_size: 64}
  quantize: {epochs: 2, learning_rate: 0.001, batch_size: 64}
search: {seed: 0, trial_minutes: 8}
budget: {trials: 3}
"""


def python(*words: object, legacy: bool) -> str:
    """Run a script in a process that knows nothing of this folder."""
    others = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", *map(str, words)],
        env=others | ({"TF_USE_LEGACY_KERAS": "1"} if legacy else {"KERAS_BACKEND": "tensorflow"}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_transformer_of_keras_3_is_searched_and_its_attention_compressed(shell: Shell) -> None:
    here, data = Path(__file__).parent, shell.folder / "data.npz"
    np.savez(data, **zoo.digit_rows_data())
    python(here / "keras3_transformer.py", data, shell.folder / "rows.keras", legacy=False)
    (shell.folder / "rows.yaml").write_text(EXPERIMENT)

    layers = {
        each["name"]: each for each in json.loads(shell.run("doctor", "rows.yaml", "--format", "json").out)["layers"]
    }
    assert {"attention", "widen"} <= set(layers)
    shell.run("plan", "rows.yaml")
    shell.run("search", "rows.yaml")
    points = shell.front("rows")["front"]
    assert all(point["values"]["accuracy"] > 0.85 for point in points)
    folder = shell.folder / shell.run("export", "rows", "--pick", "knee").out.strip()
    measured = json.loads((folder / "measurement.json").read_text())
    found = {each["layer"]: each for each in measured["fidelity"]}
    assert not [fault for each in found.values() for fault in each["faults"]]
    assert found["attention"]["weights"] == 4 * 24 * 24
    assert any(found[name]["zeros"] > 0 or found[name]["distinct"] <= 16 for name in ("attention", "widen"))
    scores = json.loads(python(here / "plain_score.py", folder / "model.tflite", data, "accuracy", legacy=True))
    for split, score in scores.items():
        assert score == measured["values"][split]["accuracy"]
