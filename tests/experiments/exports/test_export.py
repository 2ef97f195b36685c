import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.experiments.exports.archive import ARCHIVE
from paretune.experiments.exports.export import ExportContent, export_trial
from paretune.spaces.errors import ExportMismatch, RunError
from paretune.spaces.results.evaluator import FileExample, Split
from paretune.spaces.results.file_metadata import FileMetadata
from paretune.spaces.results.trial import Trial
from tests.experiments.sample_trials import sample_trials
from tests.fakes import ACCURACY, AnalyticEvaluator
from tests.tiny_tflite import doubled

BASELINE, TRIAL = sample_trials(2)[:2]
FILES = {
    "model.tflite",
    "model.zip",
    "model_data.cc",
    "model_data.h",
    "example.npz",
    "smoke_test.py",
    "policy.yaml",
    "card.md",
    "measurement.json",
}


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


class MeasuringAs:
    """Finds what the trial has, apart from what is changed (``accuracy``, ``test_...``)."""

    def __init__(self, trial: Trial, contents: bytes = b"TFL3 contents", **changed: float) -> None:
        self._trial, self._contents, self._changed = trial, contents, changed
        self.measured: list[bytes] = []

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        self.measured.append(model)
        assert self._trial.measurement is not None
        values = self._trial.measurement.values
        if split is Split.TEST:
            return {"accuracy": self._changed.get("test_accuracy", values["accuracy"] - 0.005)}
        names = ("accuracy", "size_bytes", "raw_bytes")
        found = {name: self._changed.get(name, values[name]) for name in names}
        grown = len(model) - len(self._contents)
        return {name: value + grown * name.endswith("_bytes") for name, value in found.items()}

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        self.measured.append(model)
        return AnalyticEvaluator().example(model)


def test_an_export_is_the_measured_file_with_all_that_ships_with_it(tmp_path: Path) -> None:
    to = tmp_path / "export" / "knee"
    exported = export_trial(content(replace(TRIAL, test_values={})), MeasuringAs(TRIAL), to)
    assert {path.name for path in to.iterdir()} == FILES
    assert (to / "model.tflite").read_bytes() == b"TFL3 contents"
    trial = exported.trial
    assert trial.test_values == TRIAL.test_values
    assert exported.contents == b"TFL3 contents"
    assert list(to.parent.iterdir()) == [to]


def test_measurement_json_tells_what_a_reader_needs_to_check_the_file(tmp_path: Path) -> None:
    export_trial(content(), MeasuringAs(TRIAL), tmp_path / "out")
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
        export_trial(content(), MeasuringAs(TRIAL, **changed), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_smallest_difference_in_accuracy_is_a_mismatch(tmp_path: Path) -> None:
    assert TRIAL.measurement is not None
    almost = TRIAL.measurement.values["accuracy"] + 1e-12
    with pytest.raises(ExportMismatch):
        export_trial(content(), MeasuringAs(TRIAL, accuracy=almost), tmp_path / "out")


def test_a_refused_export_leaves_an_earlier_one_as_it_was(tmp_path: Path) -> None:
    to = tmp_path / "out"
    export_trial(content(), MeasuringAs(TRIAL), to)
    before = {path.name: path.read_bytes() for path in to.iterdir()}
    with pytest.raises(ExportMismatch):
        export_trial(content(), MeasuringAs(TRIAL, accuracy=0.5), to)
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before
    assert list(tmp_path.iterdir()) == [to]


def test_exporting_again_replaces_its_own_files_and_no_other(tmp_path: Path) -> None:
    to = tmp_path / "out"
    to.mkdir()
    (to / "notes.txt").write_text("mine")
    (to / "card.md").write_text("old")
    export_trial(content(), MeasuringAs(TRIAL), to)
    assert {path.name for path in to.iterdir()} == FILES | {"notes.txt"}
    assert (to / "card.md").read_text() != "old"


def test_a_file_in_place_of_the_folder_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    tester = MeasuringAs(TRIAL)
    with pytest.raises(RunError, match="is a file"):
        export_trial(content(), tester, tmp_path / "out")
    assert not tester.measured
    assert (tmp_path / "out").read_text() == "a file"


def test_policy_yaml_reads_back_to_the_policy(tmp_path: Path) -> None:
    from paretune.experiments.config.policy_file import read_policy_file
    from paretune.spaces.policies.space import SpaceSettings, build_space

    export_trial(content(), MeasuringAs(TRIAL), tmp_path / "out")
    space = build_space(AnalyticEvaluator().layers, SpaceSettings())
    assert read_policy_file(tmp_path / "out" / "policy.yaml").policy(space) == TRIAL.candidate.policy


def test_measurement_json_knows_every_file_beside_it(tmp_path: Path) -> None:
    to = tmp_path / "out"
    export_trial(content(), MeasuringAs(TRIAL), to)
    document = json.loads((to / "measurement.json").read_text())
    assert set(document["files"]) == FILES - {"model.tflite", "card.md", "measurement.json"}
    for name, digest in document["files"].items():
        assert hashlib.sha256((to / name).read_bytes()).hexdigest() == digest


def test_what_an_earlier_export_left_and_this_one_lacks_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paretune.experiments.exports import companions

    export_trial(content(), MeasuringAs(TRIAL), tmp_path / "out")
    monkeypatch.setattr(companions, "MOST_BYTES", 3)
    export_trial(content(), MeasuringAs(TRIAL), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES - {"model_data.cc", "model_data.h"}
    assert (tmp_path / "out" / ARCHIVE).is_file()


NOTED = FileMetadata(description="Doubles.", author="A. Author")


def with_metadata_content() -> ExportContent:
    return replace(content(), model=doubled(), metadata=NOTED)


def test_a_file_with_metadata_is_measured_as_it_is_written(tmp_path: Path) -> None:
    tester = MeasuringAs(TRIAL, doubled())
    to = tmp_path / "out"
    exported = export_trial(with_metadata_content(), tester, to)
    written = (to / "model.tflite").read_bytes()
    assert b"Doubles." in written
    assert tester.measured == [doubled(), written, written, written]  # as searched, on both splits, its example
    document = json.loads((to / "measurement.json").read_text())
    assert TRIAL.measurement is not None
    grown = len(written) - len(doubled())
    assert document["values"]["validation"]["size_bytes"] == TRIAL.measurement.values["size_bytes"] + grown
    assert document["sha256"] == hashlib.sha256(written).hexdigest() == hashlib.sha256(exported.contents).hexdigest()
    assert document["metadata"]["sha256_without"] == hashlib.sha256(doubled()).hexdigest()
    assert document["metadata"]["file_bytes_added"] == grown
    assert "measured anew" in (to / "card.md").read_text()


def test_metadata_excuses_a_larger_file_and_no_other_accuracy(tmp_path: Path) -> None:
    with pytest.raises(ExportMismatch, match="did: `accuracy` is"):
        export_trial(with_metadata_content(), MeasuringAs(TRIAL, doubled(), accuracy=0.5), tmp_path / "out")
    with pytest.raises(ExportMismatch, match="did: `size_bytes` is"):
        export_trial(with_metadata_content(), MeasuringAs(TRIAL, doubled(), size_bytes=1.0), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
