"""Explaining, comparing and reproducing trials of real models, as a user does."""

import json
from pathlib import Path

import pytest

from paretune.spaces.policies.policy import LayerPolicy
from tests.end_to_end.command_line import Shell

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

TRIALS = 8
#: Rows resampled by a metric of the user's own: the worst error but for one in ten.
METRIC = """
import numpy as np


def worst_but_one_in_ten(y_true, y_pred):
    return float(np.quantile(np.abs(y_true - y_pred.reshape(y_true.shape)), 0.9))


worst_but_one_in_ten.direction = "minimize"
"""


@pytest.mark.parametrize(
    ("source", "task"),
    [
        ("breast_cancer", {"kind": "classification", "metric": "accuracy"}),
        ("diabetes", {"kind": "regression", "metric": "mine:worst_but_one_in_ten"}),
    ],
)
def test_a_run_is_explained_compared_and_reproduced(shell: Shell, source: str, task: dict[str, str]) -> None:
    (shell.folder / "mine.py").write_text(METRIC)
    file = shell.experiment("small", source, {"task": task, "objectives": ["metric", "size_bytes"], "constraints": {}})
    metric = task["metric"].rpartition(":")[2]
    shell.run("search", file, "--trials", TRIALS, "--no-tracking")

    front = shell.front("small")["front"]
    for point in front:
        test = point["test_values"]
        assert test[f"{metric}_low"] <= test[metric] <= test[f"{metric}_high"]
    assert all(point["neighbour"]["low"] <= point["neighbour"]["high"] for point in front[1:])

    explained = json.loads(shell.run("explain", "small", "--format", "json").out)
    trial = shell.folder / "runs" / "small" / "trials" / f"{explained['trial']:05d}"
    asked = json.loads((trial / "fidelity.json").read_text())
    assert [row["layer"] for row in explained["layers"]] == [
        row["layer"] for row in asked if row["requested"] != LayerPolicy().to_document()
    ]
    assert all(row["alone"]["size_bytes"] > 0 for row in explained["layers"])
    assert (explained["confusion"] is None) == (task["kind"] == "regression")
    again = shell.run("explain", "small", "--format", "json")
    assert json.loads(again.out) == explained
    assert again.err == ""

    trained = json.loads(shell.run("explain", "small", "--train", "--format", "json").out)
    assert {row["alone"]["evidence"] for row in trained["layers"]} <= {"trained", "measured"}
    assert trained["uniform"]["evidence"] == "trained"

    names = [f"small:{front[0]['trial']}", f"small:{front[-1]['trial']}"]
    changes = json.loads(shell.run("diff", *names, "--format", "json").out)["changes"]
    assert changes["size_bytes"] == front[-1]["values"]["size_bytes"] - front[0]["values"]["size_bytes"]

    ledger = Path(shell.folder / "runs" / "small" / "ledger.sqlite").read_bytes()
    found = json.loads(shell.run("reproduce", "small", "--trial", "front", "--seeds", 1, "--format", "json").out)
    assert found["expected"] == "same bytes"
    assert {each["verdict"] for each in found["trials"]} == {"same bytes"}
    assert all(each["on_front"] in (0, 1) for each in found["trials"])
    assert (shell.folder / "runs" / "small" / "ledger.sqlite").read_bytes() == ledger
