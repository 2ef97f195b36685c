"""The model searched together with its compression, and a policy file that gives the same file again."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.command_line import Shell, ready_made

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

#: Ten for the baseline's model, another base model, and some of its policies.
TRIALS = 18


def test_hyperparameters_and_policies_share_one_search(shell: Shell) -> None:
    file = ready_made("digits_cnn")
    diagnosis = json.loads(shell.run("doctor", file, "--format", "json").out)
    assert [each["name"] for each in diagnosis["hyperspace"]] == ["width", "depth", "learning_rate"]
    plan = json.loads(shell.run("plan", file, "--format", "json").out)
    assert plan["variants"] == 54  # two sparsity patterns each

    searched = shell.run("search", file, "--trials", TRIALS)
    assert f"{TRIALS} trials" in searched.err
    trials = shell.runs("digits_cnn").trials()
    bases = [trial for trial in trials if trial["origin"] == "base"]
    assert bases
    assert all(trial["training_steps"] > 0 for trial in bases)
    of_others = [trial for trial in trials if trial["architecture"] == bases[0]["architecture"]]
    assert len(of_others) > 1
    points = json.loads(shell.run("front", "digits_cnn", "--format", "keras-tuner").out)
    assert all({"width", "depth", "learning_rate"} <= set(point["hyperparameters"]["values"]) for point in points)

    again = shell.run("search", file, "--trials", TRIALS)
    assert "had finished before" in again.err

    compressed = next(trial for trial in of_others if trial["origin"] != "base" and trial["rung"] == "full")
    folder = shell.folder / "runs" / "digits_cnn" / "trials" / f"{compressed['number']:05d}"
    applied = Path(shell.run("apply", folder / "policy.yaml", file, "--to", "applied").out.strip())
    assert (shell.folder / applied / "model.tflite").read_bytes() == (folder / "model.tflite").read_bytes()
