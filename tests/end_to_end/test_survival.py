"""What a search survives: Ctrl-C, killed workers, a killed coordinator; and what it refuses to go on with."""

import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.end_to_end.command_line import RunFiles, Shell

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

#: Two epochs: what is trained here need not be good. One worker, which traces its graphs in the first trained trials:
#: so a search is sure to be still at work for a while after its first trial, which with this sampler trains nothing.
SHORT = {
    "search": {"sampler": "tpe", "rungs": ["full"], "seed": 0, "workers": 1},
    "recipe": {
        "prune": {"epochs": 2, "batch_size": 32},
        "cluster": {"epochs": 1, "batch_size": 32},
        "quantize": {"epochs": 1, "batch_size": 32},
    },
}
#: The ready-made model and data through functions beside the experiment, where a user would change them.
OWN = {"model": "mine:model", "data": "mine:data"}
MINE = """
from paretune.objectives import zoo

def model():
    model = zoo.breast_cancer_mlp()
    weights = model.get_weights()
    weights[-1] = weights[-1] + 0.0
    model.set_weights(weights)
    return model

def data():
    data = zoo.breast_cancer_data()
    return data | {"x_train": data["x_train"] * 1.0}
"""
NAME = "survivor"


def short_experiment(shell: Shell, changes: Mapping[str, Any] = SHORT) -> Path:
    (shell.folder / "mine.py").write_text(MINE)
    return shell.experiment(NAME, "breast_cancer", {**SHORT, **OWN, **changes})


def what_was_finished(run: RunFiles) -> dict[int, tuple[str, float, bytes]]:
    """Return what must never change about finished trials: policy, when it ended, and the file."""
    return {
        row["number"]: (row["policy_digest"], row["ended"], model_file(run, row["number"]))
        for row in run.trials()
        if row["state"] == "complete"
    }


def model_file(run: RunFiles, number: int) -> bytes:
    return (run.folder / "trials" / f"{number:05d}" / "model.tflite").read_bytes()


def check_nothing_lost_or_repeated(run: RunFiles, before: Mapping[int, tuple[str, float, bytes]], trials: int) -> None:
    after = what_was_finished(run)
    assert {number: after.get(number) for number in before} == before
    assert len(run.trained()) == trials
    digests = [row["policy_digest"] for row in run.trials()]
    assert len(set(digests)) == len(digests)


def check_mlflow(shell: Shell, run: RunFiles, *, parent: str) -> None:
    """Check that no MLflow run is left RUNNING, that each trial has one, and that both tell the same front."""
    recorded = run.mlflow_runs()
    statuses = {each.info.run_id: each.info.status for each in recorded}
    assert "RUNNING" not in statuses.values()
    parents = [each for each in recorded if "mlflow.parentRunId" not in each.data.tags]
    assert [each.info.status for each in parents] == [parent]
    finished = [row for row in run.trials() if row["state"] in ("complete", "failed", "refused")]
    assert len(recorded) - 1 == len(finished)
    assert f"{len(finished)} trials" in shell.run("sync", NAME).out


def wait_until_gone(processes: list[psutil.Process], patience_seconds: float) -> list[psutil.Process]:
    """Return those that are still there after a while."""
    _, alive = psutil.wait_procs(processes, timeout=patience_seconds)
    return list(alive)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Shell:
    """Return a shell in which a search was stopped by Ctrl-C, and the same command brought to its end."""
    shell = Shell(tmp_path_factory.mktemp("interrupted"), cache)
    file = short_experiment(shell)
    with shell.start("search", file.name, "--trials", 4) as search:
        search.wait_for_line("trial 1 ")
        second = shell.run("search", file.name, "--trials", 4, code=1)
        assert second.err.splitlines()[-1:] == second.error_lines
        assert "Another search is using" in second.error_lines[0]
        processes = search.children()
        search.send(signal.SIGINT)
        ended = search.wait()
    assert ended.code == 130
    assert f"Go on with: paretune search {file.name} --trials 4" in ended.err
    assert "accuracy" in ended.out
    assert "base" in ended.out
    assert not wait_until_gone(processes, 60)
    run = shell.runs(NAME)
    assert not [row for row in run.trials() if row["state"] == "running"]
    before = what_was_finished(run)
    assert before
    check_mlflow(shell, run, parent="KILLED")

    resumed = shell.run("search", file.name, "--trials", 4)
    assert "4 trials" in resumed.err
    check_nothing_lost_or_repeated(run, before, 4)
    return shell


def copy_of(finished: Shell, folder: Path) -> Shell:
    shutil.copytree(finished.folder, folder, dirs_exist_ok=True)
    return Shell(folder, finished.cache)


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(interrupted: Shell) -> None:
    check_mlflow(interrupted, interrupted.runs(NAME), parent="FINISHED")


def test_a_finished_command_repeated_ends_at_once_and_changes_nothing(interrupted: Shell) -> None:
    run = interrupted.runs(NAME)
    before = run.trials()
    began = time.monotonic()
    again = interrupted.run("search", f"{NAME}.yaml", "--trials", 4)
    assert time.monotonic() - began < 10  # seconds; loading the model alone takes longer on a busy machine
    assert "nothing was left to do" in again.err
    assert "base" in again.out
    assert run.trials() == before


def test_a_raised_budget_goes_on(interrupted: Shell, tmp_path: Path) -> None:
    shell = copy_of(interrupted, tmp_path)
    run = shell.runs(NAME)
    before = what_was_finished(run)
    shell.run("search", f"{NAME}.yaml", "--trials", 5, "--no-tracking")
    check_nothing_lost_or_repeated(run, before, 5)


CHANGES: dict[str, tuple[str, str, Mapping[str, Any], str]] = {
    "data": ('["x_train"] * 1.0', '["x_train"] * 1.5', {}, "data: "),
    "model": ("weights[-1] + 0.0", "weights[-1] + 0.5", {}, "model: "),
    "space": ("", "", {"space": {"sparsity": [0, 0.4]}}, "0.0, 0.5, 0.7, 0.8, 0.9 -> 0.0, 0.4"),
    "constraint": ("", "", {"constraints": {"accuracy": {"drop": 0.2}}}, "accuracy drop 0.05 -> accuracy drop 0.2"),
    "objective": ("", "", {"objectives": ["accuracy", "raw_bytes"]}, "size_bytes (minimize) -> "),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_a_run_does_not_go_on_with_something_else(interrupted: Shell, tmp_path: Path, changed: str) -> None:
    shell = copy_of(interrupted, tmp_path)
    run = shell.runs(NAME)
    before = run.trials()
    old, new, entries, shown = CHANGES[changed]
    file = short_experiment(shell, entries)
    (shell.folder / "mine.py").write_text(MINE.replace(old, new))
    refused = shell.run("search", file.name, "--trials", 5, code=1)
    (line,) = refused.error_lines
    assert shown in line
    assert "Traceback" not in refused.err
    assert run.trials() == before


def test_a_killed_worker_costs_its_trial_alone(shell: Shell) -> None:
    file = short_experiment(shell)
    with shell.start("search", file.name, "--trials", 3) as search:
        search.wait_for_line("trial 1 ")
        worker = search.worker()
        worker.send_signal(signal.SIGKILL)
        ended = search.wait()
    assert ended.code == 0, ended.err
    run = shell.runs(NAME)
    (failed,) = [row for row in run.trials() if row["state"] == "failed"]
    assert "SIGKILL" in failed["reason"] or "killed" in failed["reason"]
    assert failed["reason"] in ended.err
    assert len(run.trained()) == 3
    check_mlflow(shell, run, parent="FINISHED")
    (recorded,) = [each for each in run.mlflow_runs() if each.info.status == "FAILED"]
    assert failed["reason"] in recorded.data.tags.values()


def test_a_killed_coordinator_leaves_no_process_behind_and_the_same_command_goes_on(shell: Shell) -> None:
    file = short_experiment(shell)
    with shell.start("search", file.name, "--trials", 3) as search:
        search.wait_for_line("trial 1 ")
        worker, others = search.worker(), search.children()
        search.send(signal.SIGKILL)
        assert search.wait().code == -signal.SIGKILL
        assert not wait_until_gone([worker], 10)
        # the process that writes MLflow's record first tells it that the search was killed
        assert not wait_until_gone(others, 90)
    run = shell.runs(NAME)
    assert not [each for each in run.mlflow_runs() if each.info.status == "RUNNING"]
    before = what_was_finished(run)
    shell.run("search", file.name, "--trials", 3)
    check_nothing_lost_or_repeated(run, before, 3)
    check_mlflow(shell, run, parent="FINISHED")
