"""Compress from Python, with an analytic evaluator in the workers; everything else is real."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paretune
from paretune.experiments.config.experiment import read_experiment
from paretune.experiments.exports import exporting
from paretune.experiments.face import compressing
from paretune.experiments.face.arguments import experiment_of
from paretune.spaces.errors import ConfigurationError, RunError
from tests.experiments import fake_cli
from tests.experiments.face.test_given import KerasLike

X, Y = np.zeros((8, 2)), np.arange(8)
SPACE = {"sparsity": (0, np.float64(0.5), 0.8), "clusters": [None, np.int64(16)], "quantization": ["float32", "int8"]}
QUICK: dict[str, Any] = {"search": {"workers": 1, "sampler": "random"}, "tracking": False}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compressing, "build_keras_evaluator", fake_cli.build)
    return tmp_path


def compress(model: Any = None, **arguments: Any) -> paretune.Run:
    given: dict[str, Any] = {**QUICK, "space": SPACE, "budget": 4, "quiet": True, **arguments}
    return paretune.compress(KerasLike() if model is None else model, (X, Y), **given)


def test_a_search_from_python_leaves_a_run_and_the_experiment_that_says_the_same(place: Path) -> None:
    run = compress()
    assert run.path == Path("runs/net")
    assert (run.trials()["state"] == "complete").sum() >= 5
    assert run.front()["accuracy_test"].notna().all()
    assert (run.path / "front.png").is_file()
    experiment = read_experiment(run.path / "given" / "experiment.yaml")
    assert experiment.space.choices["clusters"] == (None, 16)
    assert experiment.budget.trials == 4
    assert experiment.tracking is None
    assert not [path for path in place.iterdir() if path.name != "runs"]


def test_the_same_call_again_is_answered_at_once_and_a_greater_budget_goes_on() -> None:
    first = compress()
    ended = first.trials()["seconds"]
    began = time.monotonic()
    assert compress().trials()["seconds"].equals(ended)
    assert time.monotonic() - began < 3
    grown = compress(budget={"trials": 6}).trials()
    assert len(grown) > len(ended)
    assert grown["seconds"].iloc[: len(ended)].equals(ended)


def test_progress_goes_to_stderr_and_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    compress(quiet=False)
    said = capsys.readouterr()
    assert not said.out
    assert "measuring the baseline" in said.err
    assert "The search ended: 4 trials." in said.err
    assert "marks the knee" not in said.err  # no table was printed
    compress(out="runs/other")
    assert capsys.readouterr().err == ""


def test_a_trial_is_exported_whether_or_not_it_is_on_the_front(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    monkeypatch.setattr(exporting, "export_pick", partial(exporting.export_pick, build=fake_cli.build))
    run = compress(budget=6)
    knee = run.pick()
    measured = run.export("knee", "shipped")
    assert measured["values"]["validation"]["accuracy"] == knee.values["accuracy"]
    assert Path("shipped/model.tflite").read_bytes() == knee.path.read_bytes()
    trials, front = run.trials(), run.front()
    (beaten, *_) = [number for number in trials.index[trials["state"] == "complete"] if number not in front.index]
    # as within a bound on what is no objective
    run.export(replace(knee, trial=int(beaten)), "beaten")
    kept = run.path / "trials" / f"{beaten:05d}" / "model.tflite"
    assert Path("beaten/model.tflite").read_bytes() == kept.read_bytes() != knee.path.read_bytes()


def test_a_changed_space_is_refused_on_going_on_with_the_difference() -> None:
    compress(budget=2)
    with pytest.raises(RunError, match=r"was searched with something else: .*`out` in Python"):
        compress(space={**SPACE, "sparsity": [0, 0.9]})


def test_a_number_in_another_thread_than_the_main_one_is_searched_too() -> None:
    runs: list[paretune.Run] = []
    thread = threading.Thread(target=lambda: runs.append(compress(budget=2)))
    thread.start()
    thread.join()
    assert len(runs[0].trials()) > 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"space": {"sparsty": [0]}},
            r"Unknown key 'sparsty' in `space`; .* Did you mean 'sparsity'. \(argument `space`\)",
        ),
        ({"space": {"sparsity": [1.5]}}, r"`sparsity` must be in \[0, 1\), got 1.5 \(argument `space`\)."),
        ({"budget": 0}, r"`budget.trials` must be above 0, got 0 \(argument `budget`\)."),
        ({"constraints": {"size_bytes": "small"}}, r"A constraint is .*'small'.*\(argument `constraints`\)."),
        ({"search": {"workers": "two"}}, r"`search.workers` must be a whole number, got 'two' \(argument `search`\)."),
        ({"objectives": "metric"}, r"`objectives` must be a list, got 'metric' \(argument `objectives`\)."),
        ({"name": "a/b"}, r"`name` must be a folder's name .* \(argument `name`\)."),
        ({"recipe": {"prune": {"epochs": print}}}, r"`recipe` must be made of numbers, .* got a builtin_function_or"),
    ],
)
def test_what_is_wrong_with_an_argument_is_told_in_a_line_before_anything_is_written(
    arguments: dict[str, Any], message: str, place: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        compress(**arguments)
    assert "\n" not in str(caught.value)
    assert not list(place.iterdir())


def test_an_objective_that_is_not_measured_is_told_like_in_a_file() -> None:
    with pytest.raises(ConfigurationError, match="Objective 'size' is not measured"):
        compress(objectives=["metric", "size"])


def test_all_arguments_reach_the_experiment() -> None:
    arguments = {
        "name": "n",
        "model": "m:f",
        "data": "d:f",
        "task": {"kind": "classification", "class_weights": {0: 1.0, 1: np.float32(5)}},
        "base": {"epochs": 3},
        "objectives": ("metric", "latency_ratio"),
        "constraints": {"metric": {"drop": 0.02}},
        "stop_when": {"size_bytes": "0.1x"},
        "recipe": {"prune": {"learning_rate": [0.001, 0.003]}},
        "search": {"sampler": "tpe", "seed": np.int64(3)},
        "budget": {"minutes": 5},
        "tracking": {"experiment": "mine"},
    }
    experiment = experiment_of(arguments, Path("experiment.yaml"))
    assert experiment.class_weights == {0: 1.0, 1: 5.0}
    assert experiment.base is not None
    assert experiment.base.epochs == 3
    assert experiment.objectives == ("metric", "latency_ratio")
    assert [str(each) for each in experiment.constraints] == ["metric drop 0.02"] or experiment.constraints
    assert experiment.stop_when[0].value == 0.1
    assert experiment.recipe_choices == {"prune": {"learning_rate": (0.001, 0.003)}}
    assert (experiment.sampler, experiment.seed) == ("tpe", 3)
    assert experiment.budget.minutes == 5
    assert experiment.tracking is not None
    assert experiment.tracking.experiment == "mine"


PROGRAM = """
import sys
from paretune.experiments.exports import exporting
from paretune.experiments.face import compressing
from tests.experiments import fake_cli
from tests.experiments.face.test_compress import KerasLike, QUICK, SPACE, X, Y
compressing.build_keras_evaluator = fake_cli.build
import paretune
print("the program runs", flush=True)
try:
    run = paretune.compress(KerasLike(), (X, Y), space=SPACE, budget=BUDGET, **QUICK)
except KeyboardInterrupt:
    run = paretune.open_run("net")
    print("interrupted with", len(run.trials()), "trials", flush=True)
    sys.exit(130)
print("ended with", (run.trials()["state"] == "complete").sum(), "trials")
"""


def run_program(place: Path, budget: int, seconds: str) -> "subprocess.Popen[str]":
    """Start a program without `if __name__ == "__main__"` that searches."""
    (place / "program.py").write_text(PROGRAM.replace("BUDGET", str(budget)))
    root = Path(__file__).parents[3]
    paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": paths, "FAKE_SECONDS": seconds},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def test_ctrl_c_raises_with_everything_kept_and_the_same_call_goes_on(place: Path) -> None:
    with run_program(place, 300, "0.3") as program:
        assert program.stderr is not None
        said = ""
        while "trial 2" not in said:
            line = program.stderr.readline()
            assert line, said
            said += line
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert program.returncode == 130, err
    assert "interrupted: everything finished is kept." in err
    assert "paretune.open_run('runs/net')" in err
    assert out.splitlines()[0] == "the program runs"
    assert out.count("the program runs") == 1  # workers did not run it again
    kept = paretune.open_run("net").trials()
    done = kept[kept["state"] == "complete"]
    with run_program(place, len(done) + 2, "0") as program:
        out, err = program.communicate(timeout=120)
    assert program.returncode == 0, err
    after = paretune.open_run("net").trials()
    assert after.loc[done.index, "seconds"].equals(done["seconds"])
    assert (after["state"] == "complete").sum() > len(done)
