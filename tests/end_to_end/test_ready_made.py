"""The four ready-made experiments, from the doctor to a file that a script outside the project scores."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.objectives import zoo
from tests.end_to_end.command_line import PATIENCE_SECONDS, Shell, ready_made

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

TRIALS = 6
EXPERIMENTS = {"digits": "accuracy", "breast_cancer": "accuracy", "diabetes": "mae", "digit_rows": "accuracy"}


def plain_scores(folder: Path, experiment: str, metric: str) -> dict[str, float]:
    """Score an exported file in a process that knows neither Paretune nor this folder."""
    data = folder / "data.npz"
    np.savez(data, **getattr(zoo, f"{experiment}_data")())
    script = Path(__file__).with_name("plain_score.py")
    done = subprocess.run(
        [sys.executable, "-I", script, folder / "model.tflite", data, metric],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores: dict[str, float] = json.loads(done.stdout)
    return scores


def check_front(front: dict[str, Any], metric: str) -> None:
    """Check what scripts rely on, and that no point beats another."""
    points = front["front"]
    assert points
    assert [point["knee"] for point in points].count(True) == 1
    for point in points:
        assert {metric, "size_bytes", "latency_ratio"} <= set(point["values"])
        assert metric in point["test_values"]
        assert 0 < point["values"]["size_bytes"] < front["baseline"]["values"]["size_bytes"]
    assert len({point["trial"] for point in points}) == len(points)


@pytest.mark.parametrize(("experiment", "metric"), EXPERIMENTS.items())
def test_a_ready_made_experiment_ends_in_a_file_that_scores_as_its_papers_say(
    shell: Shell, experiment: str, metric: str
) -> None:
    file = ready_made(experiment)
    diagnosis = json.loads(shell.run("doctor", file, "--format", "json").out)
    assert diagnosis["layers"]
    plan = json.loads(shell.run("plan", file, "--format", "json").out)
    assert plan
    searched = shell.run("search", file, "--trials", TRIALS)
    assert f"{TRIALS} trials" in searched.err
    run = shell.runs(experiment)
    assert len(run.trained()) == TRIALS
    assert not [row for row in run.trials() if row["state"] not in ("complete", "refused")]
    front = shell.front(experiment)
    check_front(front, metric)

    exported = Path(shell.run("export", experiment, "--pick", "knee").out.strip())
    folder = shell.folder / exported
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.md",
        "example.npz",
        "measurement.json",
        "model.tflite",
        "model.zip",
        "model_data.cc",
        "model_data.h",
        "policy.yaml",
        "smoke_test.py",
    ]
    measured = json.loads((folder / "measurement.json").read_text())
    assert measured["sha256"] == hashlib.sha256((folder / "model.tflite").read_bytes()).hexdigest()
    (knee,) = [point for point in front["front"] if point["knee"]]
    assert measured["values"]["validation"][metric] == knee["values"][metric]
    assert measured["values"]["test"][metric] == knee["test_values"][metric]
    assert not [fault for layer in measured["fidelity"] for fault in layer["faults"]]

    scores = plain_scores(folder, experiment, metric)
    for split, score in scores.items():
        written = measured["values"][split][metric]
        assert score == (written if metric == "accuracy" else pytest.approx(written, abs=1e-6)), split
