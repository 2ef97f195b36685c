"""Bad input, tried at the command line: one line on stderr, the right exit code, nothing lost."""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ruamel.yaml import YAML

from tests.end_to_end.command_line import Ended, Shell

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

FEATURES, CLASSES = 20, 3
SMALL_FILE_BYTES = 400_000
RECIPE = {"prune": {"epochs": 1}, "cluster": {"epochs": 1}, "quantize": {"epochs": 1}}
GOOD: Mapping[str, Any] = {
    "model": "mine:model",
    "data": "data.npz",
    "task": {"kind": "classification", "metric": "accuracy"},
    "space": {"sparsity": [0, 0.5, 0.8], "clusters": ["none", 16], "quantization": ["float32", "int8"]},
    "objectives": ["accuracy", "size_bytes"],
    "recipe": RECIPE,
    "budget": {"trials": 2},
    "tracking": "off",
}
MINE = f"""
import tf_keras as keras

def model(width=16):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(({FEATURES},))
    x = keras.layers.Dense(width, activation="relu", name="hidden")(x)
    return keras.Model(inputs, keras.layers.Dense({CLASSES}, activation="softmax", name="head")(x))

def wide_model():
    return model(24000)

def broken_metric(y_true, y_pred):
    raise ZeroDivisionError("no such score")
"""
#: A model that runs code of its own when it is loaded.
LAMBDA = f"""
import tf_keras as keras
inputs = keras.Input(({FEATURES},))
x = keras.layers.Lambda(lambda x: x * 2, name="doubled")(inputs)
keras.Model(inputs, keras.layers.Dense({CLASSES}, activation="softmax")(x)).save("lambda.h5")
"""


@pytest.fixture
def shell(tmp_path: Path, cache: Path) -> Shell:
    shell = Shell(tmp_path, cache)
    (tmp_path / "mine.py").write_text(MINE)
    save_data(tmp_path)
    return shell


def save_data(folder: Path, *, features: int = FEATURES, highest_label: int = CLASSES - 1, rows: int = 120) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, rows)
    labels[-1] = highest_label
    x = draw.normal(size=(rows, features)).astype(np.float32)
    x[np.arange(rows), np.minimum(labels, CLASSES - 1)] += 2
    np.savez(folder / "data.npz", x_train=x, y_train=labels)


#: A model whose files soon fill a small disk, and a search of which every trial is trained and kept.
WIDE = {"model": "mine:wide_model", "search": {"sampler": "tpe", "rungs": ["full"]}}


def write(shell: Shell, changes: Mapping[str, Any] | None = None) -> str:
    with (shell.folder / "bad.yaml").open("w") as file:
        YAML(typ="safe").dump({**GOOD, **(changes or {})}, file)
    return "bad.yaml"


def the_one_line(ended: Ended) -> str:
    """Return the one line that says what is wrong; others may tell what was being done."""
    assert "Traceback" not in ended.err
    (line,) = ended.error_lines
    assert line == ended.err.splitlines()[-1]
    assert len(line) < 600
    assert not ended.out.strip()
    return line


def test_an_experiment_file_that_is_not_there(shell: Shell) -> None:
    ended = shell.run("search", "nothing.yaml", code=1)
    assert "nothing.yaml" in the_one_line(ended)
    assert ended.err.count("\n") == 1


BEFORE_LOADING: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "a model file that is not there": ({"model": "nothing.keras"}, ("nothing.keras", "bad.yaml line ")),
    "a value of the wrong type": ({"budget": {"trials": "many"}}, ("trials", "'many'", "bad.yaml line ")),
    "a key with a typing error": ({"objectivs": ["accuracy"]}, ("objectivs", "objectives", "bad.yaml line ")),
}


@pytest.mark.parametrize("case", BEFORE_LOADING)
def test_what_is_wrong_with_the_file_is_told_before_anything_is_loaded(shell: Shell, case: str) -> None:
    changes, expected = BEFORE_LOADING[case]
    ended = shell.run("search", write(shell, changes), code=1)
    line = the_one_line(ended)
    assert [part for part in expected if part not in line] == []
    assert ended.err.count("\n") == 1
    assert not (shell.folder / "runs").exists()


def test_a_model_file_that_runs_code(shell: Shell) -> None:
    subprocess.run(
        [sys.executable, "-c", LAMBDA],
        cwd=shell.folder,
        env={**shell.environment, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        check=True,
    )
    line = the_one_line(shell.run("search", write(shell, {"model": "lambda.h5"}), code=1))
    assert "'doubled'" in line
    assert "--trust-model" in line


def test_data_of_the_wrong_shape(shell: Shell) -> None:
    save_data(shell.folder, features=7)
    line = the_one_line(shell.run("search", write(shell), code=1))
    assert "20" in line
    assert "7" in line
    assert "x_train" in line


def test_a_label_out_of_range(shell: Shell) -> None:
    save_data(shell.folder, highest_label=11)
    line = the_one_line(shell.run("search", write(shell), code=1))
    assert "11" in line
    assert "y_" in line


AFTER_LOADING: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "a glob that matches no layer": (
        {"space": {"layers": {"hiden*": {"sparsity": [0]}}}},
        ("'hiden*'", "hidden, head"),
    ),
    "a constraint that nothing meets": ({"constraints": {"size_bytes": {"max": 10}}}, ("size_bytes", "10")),
    "a constraint on something unknown": (
        {"constraints": {"acuracy": {"drop": 0.1}}},
        ("'acuracy'", "accuracy"),
    ),
    "a metric that fails": ({"task": {"metric": "mine:broken_metric"}, "objectives": ["metric"]}, ("no such score",)),
}


@pytest.mark.parametrize("case", AFTER_LOADING)
def test_what_is_wrong_for_this_model_is_told_before_anything_is_trained(shell: Shell, case: str) -> None:
    changes, expected = AFTER_LOADING[case]
    line = the_one_line(shell.run("search", write(shell, changes), code=1))
    assert [part for part in expected if part not in line] == []


@pytest.mark.parametrize("words", [("--trials", "0"), ("--trials", "many"), ("--no-such-option",)])
def test_a_command_that_cannot_be_meant_is_a_matter_of_usage(shell: Shell, words: tuple[str, ...]) -> None:
    ended = shell.run("search", write(shell), *words, code=2)
    (line,) = ended.error_lines
    assert words[0] in line
    assert not (shell.folder / "runs").exists()


def test_a_loss_that_is_no_number_fails_each_trial_and_the_search_ends_in_order(shell: Shell) -> None:
    wild = {stage: {"epochs": 2, "learning_rate": 1e30} for stage in RECIPE}
    space = {"channels": [1], "sparsity": [0.5, 0.8], "clusters": ["none"]}
    space |= {"quantization": ["float32", "int8"], "groups": [["*"]]}
    ended = shell.run("search", write(shell, {"recipe": wild, "space": space}))
    assert "Traceback" not in ended.err
    rows = shell.runs("bad").trials()
    failed = [row for row in rows if row["state"] == "failed"]
    assert len(failed) == len(rows) - 1 == 4
    assert all("the loss became" in row["reason"] and "learning_rate" in row["reason"] for row in failed)
    assert all(row["reason"] in ended.err for row in failed)
    assert "every policy of the space has been tried" in ended.err
    assert shell.front("bad")["front"] == []


def test_a_temporary_folder_without_room(shell: Shell) -> None:
    file = write(shell, WIDE)
    line = the_one_line(shell.run("search", file, code=1, limits=_no_file_above_400_kb))
    assert tempfile.gettempdir() in line
    assert "TMPDIR" in line


def test_a_file_that_cannot_be_written_ends_the_search_and_the_same_command_goes_on(shell: Shell) -> None:
    file = write(shell, WIDE)
    with shell.start("search", file, "--trials", 3) as search:
        search.wait_for_line("trial 1 ")
        # The next trial's file takes at least 640 kB; the ledger and its log stay far below.
        psutil.Process(search.pid).rlimit(psutil.RLIMIT_FSIZE, (SMALL_FILE_BYTES, SMALL_FILE_BYTES))
        ended = search.wait()
    assert ended.code == 1
    (line,) = ended.error_lines
    assert "trials/" in line
    assert "File too large" in line
    assert "Traceback" not in ended.err
    check_goes_on(shell, file, 3)


def test_a_full_disk_ends_the_search_and_the_same_command_goes_on(shell: Shell) -> None:
    """On a disk of 8 MB of its own; where the kernel lets nobody mount one, the test above stands alone."""
    namespace = ("unshare", "--user", "--map-root-user", "--mount")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel lets nobody mount a disk in a namespace of its own")
    file = write(shell, WIDE)
    script = 'mkdir runs; mount -t tmpfs -o size=8m none runs; "$@"; code=$?; cp -a runs kept; exit $code'
    ended = shell.run("search", file, "--trials", 5, code=1, prefix=(*namespace, "sh", "-c", script, "sh"))
    (line,) = ended.error_lines
    assert line.startswith("error: No space left in ")
    assert "Traceback" not in ended.err
    (shell.folder / "runs").rmdir()
    (shell.folder / "kept").rename(shell.folder / "runs")
    check_goes_on(shell, file, 5)


def check_goes_on(shell: Shell, file: str, trials: int) -> None:
    """Check that nothing finished is lost, and that the same command brings the search to its end."""
    run = shell.runs("bad")
    before = [row for row in run.trials() if row["state"] == "complete"]
    assert len(before) >= 2
    shell.run("front", "bad")
    shell.run("search", file, "--trials", trials)
    after = run.trials()
    assert [row for row in after if row["number"] in {kept["number"] for kept in before}] == before
    assert {row["state"] for row in after} == {"complete"}
    assert len(run.trained()) == trials
    assert [path for path in run.folder.rglob("*") if ".part" in path.name] == []


def _no_file_above_400_kb() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILE_BYTES, SMALL_FILE_BYTES))
