"""Compress a model in memory, from a program without `if __name__ == "__main__"`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.command_line import PATIENCE_SECONDS, Shell

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

PROGRAM = """
print("the program runs", flush=True)
import json
import KERAS as keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import paretune

x, y = load_digits(return_X_y=True)
x = (x / 16).astype("float32").reshape(-1, 8, 8, 1)
dense = [keras.layers.Dense(24, "relu"), keras.layers.Dense(10, "softmax")]
layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), *dense]
model = keras.Sequential(layers, name="small")
rng = np.random.default_rng(0)
model.set_weights([0.1 * rng.standard_normal(w.shape) for w in model.get_weights()])
scores = model.predict(x[:8], verbose=0)
rows = [tf.data.Dataset.from_tensor_slices(part).batch(100) for part in ((x[:1400], y[:1400]), (x[1400:], y[1400:]))]
run = paretune.compress(
    model,
    tuple(rows),
    space={"sparsity": [0, 0.5], "clusters": [None, 16], "quantization": ["float32", "int8"]},
    recipe={"prune": {"epochs": 2}, "cluster": {"epochs": 2}},
    search={"sampler": "random", "rungs": ["full"], "leaves": 0},
    budget=2,
)
assert np.array_equal(model.predict(x[:8], verbose=0), scores), "the caller's model has changed"
done = run.trials()
print(json.dumps({"trained": int((done["training_steps"] > 0).sum()), "ended": list(done["seconds"])}))
run.export("smallest", "shipped")
"""


@pytest.mark.parametrize("keras", ["keras", "tf_keras"])
def test_a_model_of_either_keras_and_a_data_set_go_all_the_way_and_go_on(shell: Shell, keras: str) -> None:
    program = shell.folder / "program.py"
    program.write_text(PROGRAM.replace("KERAS", keras))
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, program],
            cwd=shell.folder,
            env=shell.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("the program runs") == 1
        outputs.append(done)
    first, second = (json.loads(each.stdout.splitlines()[-1]) for each in outputs)
    assert first["trained"] >= 2
    assert second == first
    assert "this search had finished before" in outputs[1].stderr
    measured = json.loads((shell.folder / "shipped" / "measurement.json").read_text())
    assert 0.1 < measured["values"]["test"]["accuracy"] <= 1
    assert not [name for name in ("experiment.yaml", "given") if Path(shell.folder / name).exists()]
    shell.run("front", "small", "--max-drop", "0.5")
    shell.run("search", "runs/small/given/experiment.yaml", "--trials", 3)
    assert len(shell.runs("small").trained()) == 3
