"""Whole trials on data that stays on disk."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paretune.objectives.evaluator import build_evaluator
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.policies.quantization import Quantization
from tests.contracts.evaluator import candidate_of

pytestmark = pytest.mark.tensorflow

MODEL = """
import tf_keras as keras

def build():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="conv")(inputs)
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(x), name="small")
"""


@pytest.mark.parametrize("engine", ["compiled", pytest.param("reference", marks=pytest.mark.slow)])
def test_a_trial_on_a_folder_of_arrays_gives_what_it_gives_on_the_same_npz(tmp_path: Path, engine):
    (tmp_path / "small.py").write_text(MODEL)
    generator = np.random.default_rng(0)
    arrays = {
        "x_train": generator.normal(size=(200, 16, 16, 1)),
        "y_train": np.arange(200) % 4,
        "w_train": generator.random(200),
    }
    np.savez(tmp_path / "data.npz", **arrays)
    (tmp_path / "data").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "data" / f"{name}.npy", array)
    in_memory = EvaluatorSettings(
        model="small:build", data="data.npz", beside=str(tmp_path), class_weights="balanced", engine=engine
    )
    evaluators = [build_evaluator(in_memory), build_evaluator(replace(in_memory, data="data"))]
    candidate = candidate_of(evaluators[0], LayerPolicy(sparsity=0.5, quantization=Quantization.INT8))
    first, second = (each.evaluate(candidate, Rung.FULL, Limit()) for each in evaluators)
    assert evaluators[0].describe().fingerprint == evaluators[1].describe().fingerprint
    assert first.training_steps > 0
    assert first.artifacts["model.tflite"] == second.artifacts["model.tflite"]
    assert {**first.values, "latency_ratio": 0} == {**second.values, "latency_ratio": 0}


TRIAL = """
import sys, threading, time
from dataclasses import replace
from pathlib import Path

import numpy as np

from paretune.objectives.evaluator import build_evaluator
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import PruneRecipe
from tests.contracts.evaluator import candidate_of

def anonymous_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def watch():
    while True:
        seen[0] = max(seen[0], anonymous_bytes())
        time.sleep(0.005)

before = anonymous_bytes()
seen = [before]
threading.Thread(target=watch, daemon=True).start()
evaluator = build_evaluator(EvaluatorSettings(model="small:build", data="data", beside=sys.argv[1]))
samples = evaluator.describe().samples["train"]
candidate = candidate_of(evaluator, LayerPolicy(sparsity=0.5))
recipe = Recipe(prune=PruneRecipe(epochs=2000 / samples, frequency=1, batch_size=64))
measurement = evaluator.evaluate(replace(candidate, recipe=recipe), Rung.FULL, Limit())
assert measurement.training_steps > 10, measurement.training_steps
print(seen[0] - before)
"""


@pytest.mark.slow  # writes and reads 600 MB
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's count of a process's own memory")
def test_data_of_600_mb_is_loaded_trained_on_and_measured_in_far_less_memory(tmp_path: Path):
    (tmp_path / "small.py").write_text(MODEL)
    (tmp_path / "data").mkdir()
    rows, size = 300_000, (16, 16, 1)
    x = np.lib.format.open_memmap(tmp_path / "data/x_train.npy", "w+", np.float64, (rows, *size))
    del x  # a hole in the file: all zeros, and no space on the disk
    np.save(tmp_path / "data/y_train.npy", (np.arange(rows) % 4).astype(np.uint8))
    file_bytes = (tmp_path / "data/x_train.npy").stat().st_size
    assert file_bytes > 600e6
    done = subprocess.run(
        [sys.executable, "-c", TRIAL, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < file_bytes / 3
