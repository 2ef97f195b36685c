import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.experiments.exports.export import ExportContent, Remeasure, export_trial
from paretune.spaces.errors import ExportMismatch, RunError
from paretune.spaces.evaluator import Split
from paretune.spaces.trial import Trial
from tests.experiments.sample_trials import sample_trials
from tests.fakes import ACCURACY, AnalyticEvaluator

BASELINE, TRIAL = sample_trials(2)[:2]
FILES = {"model.tflite", "policy.yaml", "card.md", "measurement.json"}


def content(trial: Trial = TRIAL) -> ExportContent:
    return ExportContent(
        title="digits",
        origin="trial 1 of runs/digits (knee)",
        model=b"TFL3 contents",
        trial=trial,
        baseline=BASELINE,
        description=AnalyticEvaluator().describe(),
        metric=ACCURACY,
        versions={"tensorflow": "2.21.0"},
        reproduce=("paretune search digits.yaml",),
    )


def measuring_as(trial: Trial, **changed: float) -> Remeasure:
    """Return a remeasurement that finds what the trial has, apart from what is changed (``accuracy``, ``test_...``)."""

    def remeasure(model: bytes, split: Split, hyperparameters: Mapping[str, Any]) -> Mapping[str, float]:
        assert model == b"TFL3 contents"
        assert trial.measurement is not None
        if split is Split.TEST:
            return {"accuracy": changed.get("test_accuracy", trial.measurement.values["accuracy"] - 0.005)}
        names = ("accuracy", "size_bytes", "raw_bytes")
        return {name: changed.get(name, trial.measurement.values[name]) for name in names}

    return remeasure


def test_an_export_is_the_measured_file_and_its_three_papers(tmp_path: Path) -> None:
    to = tmp_path / "export" / "knee"
    trial = export_trial(content(replace(TRIAL, test_values={})), measuring_as(TRIAL), to)
    assert {path.name for path in to.iterdir()} == FILES
    assert (to / "model.tflite").read_bytes() == b"TFL3 contents"
    assert trial.test_values == TRIAL.test_values
    assert list(to.parent.iterdir()) == [to]


def test_measurement_json_tells_what_a_reader_needs_to_check_the_file(tmp_path: Path) -> None:
    export_trial(content(), measuring_as(TRIAL), tmp_path / "out")
    document = json.loads((tmp_path / "out" / "measurement.json").read_text())
    assert TRIAL.measurement is not None
    assert document["sha256"] == hashlib.sha256(b"TFL3 contents").hexdigest()
    assert document["file_bytes"] == len(b"TFL3 contents")
    assert document["values"]["validation"] == TRIAL.measurement.values
    assert document["values"]["test"] == TRIAL.test_values
    assert document["samples"] == AnalyticEvaluator().describe().samples
    assert document["machine"]["threads"] == 1
    assert document["versions"] == {"tensorflow": "2.21.0"}
    assert document["fingerprint"] == {"model": "analytic"}
    assert [layer["layer"] for layer in document["fidelity"]] == ["conv0", "conv1", "conv2", "conv3"]


@pytest.mark.parametrize("changed", [{"accuracy": 0.5}, {"size_bytes": 1.0}, {"test_accuracy": 0.5}])
def test_a_file_that_measures_otherwise_is_refused_and_leaves_nothing(
    tmp_path: Path, changed: dict[str, float]
) -> None:
    name = next(iter(changed)).removeprefix("test_")
    with pytest.raises(ExportMismatch, match=f"did: `{name}` is"):
        export_trial(content(), measuring_as(TRIAL, **changed), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_smallest_difference_in_accuracy_is_a_mismatch(tmp_path: Path) -> None:
    assert TRIAL.measurement is not None
    almost = TRIAL.measurement.values["accuracy"] + 1e-12
    with pytest.raises(ExportMismatch):
        export_trial(content(), measuring_as(TRIAL, accuracy=almost), tmp_path / "out")


def test_a_refused_export_leaves_an_earlier_one_as_it_was(tmp_path: Path) -> None:
    to = tmp_path / "out"
    export_trial(content(), measuring_as(TRIAL), to)
    before = {path.name: path.read_bytes() for path in to.iterdir()}
    with pytest.raises(ExportMismatch):
        export_trial(content(), measuring_as(TRIAL, accuracy=0.5), to)
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before
    assert list(tmp_path.iterdir()) == [to]


def test_exporting_again_replaces_the_four_files_and_no_other(tmp_path: Path) -> None:
    to = tmp_path / "out"
    to.mkdir()
    (to / "notes.txt").write_text("mine")
    (to / "card.md").write_text("old")
    export_trial(content(), measuring_as(TRIAL), to)
    assert {path.name for path in to.iterdir()} == FILES | {"notes.txt"}
    assert (to / "card.md").read_text() != "old"


def test_a_file_in_place_of_the_folder_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RunError, match="is a file"):
        export_trial(content(), lambda model, split, values: pytest.fail("measured"), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "a file"


def test_policy_yaml_reads_back_to_the_policy(tmp_path: Path) -> None:
    from paretune.experiments.config.policy_file import read_policy_file
    from paretune.spaces.space import SpaceSettings, build_space

    export_trial(content(), measuring_as(TRIAL), tmp_path / "out")
    space = build_space(AnalyticEvaluator().layers, SpaceSettings())
    assert read_policy_file(tmp_path / "out" / "policy.yaml").policy(space) == TRIAL.candidate.policy
