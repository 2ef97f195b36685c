import contextlib
import json
import os
import platform
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.experiments.config.experiment import Tracking
from paretune.experiments.exports.front_picture import save_picture
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import open_run
from paretune.experiments.tracking import process
from paretune.experiments.tracking.content import LONGEST_TAG, RunContent, front_csv, trial_content, with_safe_names
from paretune.experiments.tracking.record import MlflowRecord, RecordCounts
from paretune.experiments.tracking.source import read_content
from paretune.experiments.tracking.summary import summary_text
from paretune.experiments.tracking.sync import sync_run
from paretune.experiments.tracking.tracker import embedded_store, tracking_store, writing_record
from paretune.search.front import hypervolume_history, values_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import RunError
from paretune.spaces.results.trial import Trial, TrialState, count_trained
from tests.experiments.sample_trials import OBJECTIVES, sample_front, sample_trials

Runs = Callable[[], dict[str, Any]]


def content_of(trials: list[Trial]) -> RunContent:
    history = hypervolume_history(trials, OBJECTIVES, (), values_of(trials[0]))
    return RunContent(
        run_id="run-1",
        name="digits",
        metric="accuracy",
        trials=tuple(trials),
        front=sample_front(trials),
        hypervolumes=tuple(history),
        parameters={"experiment": "digits"},
        tags={"budget": "24 trials"},
    )


def update(record: MlflowRecord, content: RunContent, *, is_running: bool) -> RecordCounts:
    """Update a record, with the front's picture drawn into a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        picture = save_picture(Path(folder), content.front, content.metric)
        return record.update(content, picture, is_running=is_running)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database as MLflow makes it: making it takes a second, copying it nothing."""
    folder = tmp_path_factory.mktemp("empty")
    MlflowRecord(embedded_store(folder, "other"), "none")
    return folder / "mlflow.db"


@pytest.fixture
def record(tmp_path: Path, empty_database: Path) -> MlflowRecord:
    shutil.copy(empty_database, tmp_path)
    return MlflowRecord(embedded_store(tmp_path), "run-1")


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Return all MLflow runs by name, as another client sees them."""
    from mlflow.tracking import MlflowClient

    def by_name() -> dict[str, Any]:
        client = MlflowClient(tracking_uri=embedded_store(tmp_path).uri)
        experiment = client.get_experiment_by_name("paretune")
        found = client.search_runs([experiment.experiment_id])
        assert len({run.info.run_name for run in found}) == len(found)
        return {run.info.run_name: run for run in found}

    return by_name


def test_every_finished_trial_becomes_one_child_with_its_own_times(record: MlflowRecord, runs: Runs) -> None:
    trials = sample_trials(5)
    update(record, content_of(trials), is_running=True)
    children = {name: run for name, run in runs().items() if name != "digits"}
    assert set(children) == {f"trial {number}" for number in range(8)}
    parent = runs()["digits"].info.run_id
    for trial in trials[:7]:
        run = children[f"trial {trial.number}"]
        assert run.data.tags["mlflow.parentRunId"] == parent
        assert (run.info.start_time, run.info.end_time) == (trial.started * 1000, trial.ended * 1000)


def test_a_child_has_the_knobs_the_numbers_and_the_papers(record: MlflowRecord, runs: Runs, tmp_path: Path) -> None:
    trials = sample_trials(2)
    update(record, content_of(trials), is_running=True)
    run, trial = runs()["trial 1"], trials[1]
    assert trial.measurement is not None
    assert run.data.params["conv1.quantization"] == str(trial.candidate.policy["conv1"].quantization)
    assert run.data.params["conv1.sparsity"] == str(trial.candidate.policy["conv1"].sparsity)
    assert run.data.metrics["accuracy"] == trial.measurement.values["accuracy"]
    assert run.data.metrics["test_accuracy"] == trial.test_values["accuracy"]
    assert run.data.metrics["training_steps"] == trial.measurement.training_steps
    assert run.data.metrics["seconds"] == 10.0
    assert {"rung": "full", "sampler": "tpe", "fidelity": "clean", "trial": "1"}.items() <= run.data.tags.items()
    artifacts = tmp_path / "mlflow-artifacts" / run.info.run_id / "artifacts"
    assert "layers:" in (artifacts / "policy.yaml").read_text()
    assert json.loads((artifacts / "fidelity.json").read_text())[0]["layer"] == "conv0"


def test_failed_refused_and_stopped_trials_say_why(record: MlflowRecord, runs: Runs) -> None:
    trials = sample_trials(2)
    stopped = "stopped after a short training: it ranks 3 of 3 short trials"
    trials[1] = replace(trials[1], rung=Rung.SHORT, reason=stopped)
    trials[2] = replace(trials[2], rung=Rung.SHORT)  # goes on as another trial
    update(record, content_of(trials), is_running=True)
    shown = {name: (run.info.status, run.data.tags.get("state"), run.data.tags.get("reason"))
             for name, run in runs().items()}  # fmt: skip
    assert shown["trial 1"] == ("FINISHED", "stopped", stopped)
    assert shown["trial 2"] == ("FINISHED", "complete", None)
    assert shown["trial 3"] == ("FAILED", "failed", "The loss became NaN in stage 'prune'.")
    assert shown["trial 4"] == ("KILLED", "refused", "Too large.")
    counts = {
        name: runs()["digits"].data.tags[f"{name}_trials"] for name in ("complete", "failed", "refused", "stopped")
    }
    assert counts == {"complete": "1", "failed": "1", "refused": "1", "stopped": "1"}


def test_a_refused_trial_stands_where_it_was_refused_and_took_no_time(record: MlflowRecord, runs: Runs) -> None:
    trials = sample_trials(2)
    update(record, content_of(trials), is_running=True)
    refused = runs()["trial 4"]
    assert refused.info.start_time == refused.info.end_time == max(trial.started for trial in trials) * 1000
    assert "seconds" not in refused.data.metrics


PROFILE = {"run": "run-1", "additivity": {"median_ratio": 1.25, "sentence": "8 pairs cost 1.25 times their sum"}}


@pytest.fixture
def profile_files(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "profile.png", tmp_path / "profile.json"]
    for file in files:
        file.write_text(f"{file.name} of the run")
    return files


def test_the_parent_shows_the_profile_once_it_is_complete(
    record: MlflowRecord, runs: Runs, tmp_path: Path, profile_files: list[Path]
) -> None:
    content = replace(content_of(sample_trials(2)), proxies=40, proxy_seconds=12.5)
    record.update(content, profile_files[0], is_running=True, profile_files=profile_files)
    artifacts = tmp_path / "mlflow-artifacts" / runs()["digits"].info.run_id / "artifacts"
    assert not (artifacts / "profile.json").exists()
    assert runs()["digits"].data.metrics["proxies"] == 40
    content = replace(content, proxies=62, proxy_seconds=20.0, profile=PROFILE)
    record.update(content, profile_files[0], is_running=True, profile_files=profile_files)
    parent = runs()["digits"]
    assert {name: parent.data.metrics[name] for name in ("proxies", "proxy_seconds", "additivity")} == {
        "proxies": 62,
        "proxy_seconds": 20.0,
        "additivity": 1.25,
    }
    assert "Profile: 8 pairs cost 1.25 times their sum." in parent.data.tags["mlflow.note.content"]
    for file in profile_files:
        assert (artifacts / file.name).read_text() == file.read_text()


def test_a_description_that_a_person_wrote_stays(
    record: MlflowRecord, runs: Runs, tmp_path: Path, profile_files: list[Path]
) -> None:
    from mlflow.tracking import MlflowClient

    content = content_of(sample_trials(2))
    update(record, content, is_running=True)
    client = MlflowClient(tracking_uri=embedded_store(tmp_path).uri)
    client.set_tag(runs()["digits"].info.run_id, "mlflow.note.content", "For the paper.")
    again = MlflowRecord(embedded_store(tmp_path), "run-1")
    again.update(replace(content, profile=PROFILE), profile_files[0], is_running=True, profile_files=profile_files)
    assert runs()["digits"].data.tags["mlflow.note.content"] == "For the paper."
    assert "paretune.profile" in runs()["digits"].data.tags


def test_the_description_is_the_front_with_what_to_do_next_and_follows_it(record: MlflowRecord, runs: Runs) -> None:
    trials = sample_trials(8)
    for count in (2, len(trials)):
        content = content_of(trials[:count])
        update(record, content, is_running=True)
        text = runs()["digits"].data.tags["mlflow.note.content"]
        rows = re.findall(r"^\| (?:\*\*)?(\w+)(?: \(knee\)\*\*)? \|", text, flags=re.MULTILINE)
        assert rows == ["trial", "baseline", *(str(trial.number) for trial in content.front.trials)]
    assert "`tags.pareto = 'true'`" in text
    assert "paretune export digits --pick knee --register digits --alias champion" in text


def test_a_front_too_long_for_a_description_is_cut_and_says_so() -> None:
    content = content_of(sample_trials(300, seed=3))
    assert len(content.front.points) > 20
    points = content.front.points * 6
    text = summary_text(replace(content, front=replace(content.front, points=points)))
    assert len(text) <= LONGEST_TAG
    assert re.search(r"\d+ more rows in `front.csv`", text)
    assert text.endswith("--max-drop 0.01`")


def test_policy_and_front_are_tables_that_mlflow_reads(record: MlflowRecord, runs: Runs, tmp_path: Path) -> None:
    import mlflow

    trials = sample_trials(3)
    content = content_of(trials)
    update(record, content, is_running=True)
    mlflow.set_tracking_uri(embedded_store(tmp_path).uri)
    try:
        found = runs()
        mlflow.set_experiment("paretune")
        policy = mlflow.load_table("policy_table.json", run_ids=[found["trial 1"].info.run_id])
        front = mlflow.load_table("front_table.json", run_ids=[found["digits"].info.run_id])
    finally:
        mlflow.set_tracking_uri(None)
    assert policy["layer"].tolist() == list(trials[1].candidate.policy)
    assert policy["format"].tolist() == [str(each.quantization) for each in trials[1].candidate.policy.values()]
    assert front["trial"].tolist() == [trial.number for trial in content.front.trials]
    assert front["knee"].sum() == 1


def test_runs_are_filtered_and_sorted_as_the_description_says(record: MlflowRecord, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    content = content_of(sample_trials(8))
    update(record, content, is_running=False)
    client = MlflowClient(tracking_uri=embedded_store(tmp_path).uri)
    experiment = client.get_experiment_by_name("paretune")
    found = client.search_runs(
        [experiment.experiment_id],
        filter_string="tags.pareto = 'true' and metrics.size_bytes < 1000000",
        order_by=["metrics.size_bytes ASC"],
    )
    assert [run.data.tags["trial"] for run in found] == [str(trial.number) for trial in content.front.trials]


def test_what_has_been_written_is_not_even_made_again(record: MlflowRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    from paretune.experiments.tracking import record as module

    trials = sample_trials(5)
    update(record, content_of(trials[:4]), is_running=True)
    made: list[int] = []
    monkeypatch.setattr(module, "trial_content", lambda trial: made.append(trial.number) or trial_content(trial))
    update(record, content_of(trials), is_running=True)
    assert made == [trial.number for trial in trials[4:]]


def test_a_ledger_in_which_nothing_happened_is_not_read_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finished(place, "search", "exp.yaml", "--no-tracking")[0] == 0
    reads: list[RunFolder] = []
    monkeypatch.setattr(process, "read_content", lambda folder: reads.append(folder) or read_content(folder))
    folder = RunFolder(place / "runs" / "fake")
    follower = process.Follower(folder, {})
    assert all(follower.catch_up() for _ in range(3))
    assert len(reads) <= 2  # the second finds nothing new: opening a database may touch its log
    before = len(reads)
    with contextlib.closing(sqlite3.connect(folder.ledger)) as connection, connection:
        connection.execute("UPDATE trials SET reason = 'said later' WHERE number = 1")
    assert follower.catch_up()
    assert len(reads) == before + 1


def test_neither_password_nor_environment_reaches_mlflow(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret-of-the-environment")
    store = f"sqlite:///{place / 'runs' / 'mlflow.db'}?password=secret-of-the-address"
    (place / "exp.yaml").write_text(EXPERIMENT + f"tracking: {{uri: '{store}'}}\n")
    assert finished(place, "search", "exp.yaml", "--no-tracking")[0] == 0
    content, _ = read_content(RunFolder(place / "runs" / "fake"))
    told = [content.parameters, content.tags, summary_text(content), *map(trial_content, content.trials)]
    assert "secret" not in repr(told)


def test_the_parent_shows_the_front_as_csv_and_picture_and_hypervolume_by_trial(
    record: MlflowRecord, runs: Runs, tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    content = content_of(sample_trials(5))
    update(record, content, is_running=True)
    parent = runs()["digits"]
    artifacts = tmp_path / "mlflow-artifacts" / parent.info.run_id / "artifacts"
    assert (artifacts / "front.csv").read_text() == front_csv(content.front)
    assert (artifacts / "front.png").read_bytes().startswith(b"\x89PNG")
    history = MlflowClient(tracking_uri=embedded_store(tmp_path).uri).get_metric_history(
        parent.info.run_id, "hypervolume"
    )
    assert [(metric.step, metric.value) for metric in history] == list(content.hypervolumes)


def test_updating_again_writes_nothing_even_from_another_process(tmp_path: Path, record: MlflowRecord) -> None:
    content = content_of(sample_trials(3))
    assert update(record, content, is_running=True).written == 6
    assert update(record, content, is_running=True).written == 0
    again = update(MlflowRecord(embedded_store(tmp_path), "run-1"), content, is_running=True)
    assert (again.written, again.children) == (0, 6)


def test_pareto_tags_follow_the_front(record: MlflowRecord, runs: Runs) -> None:
    trials = sample_trials(8)
    for count in (2, 5, len(trials)):
        content = content_of(trials[:count])
        counts = update(record, content, is_running=True)
        on_front = {trial.number for trial in content.front.trials}
        assert record.trials_tagged_pareto() == on_front
        assert counts.on_front == len(on_front)
    knees = [run.data.tags["trial"] for run in runs().values() if run.data.tags.get("knee") == "true"]
    assert content.front.knee is not None
    assert knees == [str(content.front.knee.number)]


def test_values_measured_later_on_the_test_split_reach_the_child(record: MlflowRecord, runs: Runs) -> None:
    trials = sample_trials(2)
    update(record, content_of([replace(trial, test_values={}) for trial in trials]), is_running=True)
    assert "test_accuracy" not in runs()["trial 1"].data.metrics
    assert update(record, content_of(trials), is_running=True).written == 3
    assert runs()["trial 1"].data.metrics["test_accuracy"] == trials[1].test_values["accuracy"]


def test_a_trial_that_is_running_or_interrupted_has_no_child(record: MlflowRecord, runs: Runs) -> None:
    trials = sample_trials(2)
    trials[1] = replace(trials[1], state=TrialState.RUNNING, measurement=None)
    trials[2] = replace(trials[2], state=TrialState.INTERRUPTED, measurement=None)
    update(record, content_of(trials), is_running=True)
    assert set(runs()) == {"digits", "trial 0", "trial 3", "trial 4"}


def test_a_child_left_running_by_a_crash_is_ended_and_a_double_removed(
    tmp_path: Path, record: MlflowRecord, runs: Runs
) -> None:
    from mlflow.tracking import MlflowClient

    content = content_of(sample_trials(2))
    update(record, content, is_running=True)
    client = MlflowClient(tracking_uri=embedded_store(tmp_path).uri)
    parent, child = runs()["digits"], runs()["trial 1"]
    client.update_run(child.info.run_id, status="RUNNING")
    client.delete_tag(child.info.run_id, "paretune.digest")
    client.create_run(parent.info.experiment_id, tags={**child.data.tags, "mlflow.runName": "double"})
    update(MlflowRecord(embedded_store(tmp_path), "run-1"), content, is_running=True)
    assert runs()["trial 1"].info.status == "FINISHED"
    assert "double" not in runs()


def test_resuming_reopens_the_parent_and_ending_closes_it(tmp_path: Path, record: MlflowRecord, runs: Runs) -> None:
    content = content_of(sample_trials(2))
    update(record, content, is_running=True)
    record.end("KILLED", content)
    assert runs()["digits"].info.status == "KILLED"
    assert runs()["digits"].info.end_time == content.ended_ms
    resumed = MlflowRecord(embedded_store(tmp_path), "run-1")
    assert not resumed.is_left_running
    update(resumed, content, is_running=True)
    assert runs()["digits"].info.status == "RUNNING"
    resumed.end("FINISHED", content)
    assert all(run.info.status != "RUNNING" for run in runs().values())


def test_the_page_of_a_run_is_kept_once_and_again_when_it_has_changed(
    tmp_path: Path, record: MlflowRecord, runs: Runs
) -> None:
    update(record, content_of(sample_trials(1)), is_running=True)
    page = tmp_path / "mlflow-artifacts" / runs()["digits"].info.run_id / "artifacts" / "report.html"
    assert not page.exists()
    record.log_report("<p>one</p>")
    assert page.read_text() == "<p>one</p>"
    page.unlink()
    MlflowRecord(embedded_store(tmp_path), "run-1").log_report("<p>one</p>")
    assert not page.exists()
    record.log_report("<p>two</p>")
    assert page.read_text() == "<p>two</p>"


def test_two_runs_in_one_store_do_not_mix(tmp_path: Path, record: MlflowRecord, runs: Runs) -> None:
    update(record, content_of(sample_trials(2)), is_running=True)
    other = replace(content_of(sample_trials(1, seed=5)), run_id="run-2", name="other")
    counts = update(MlflowRecord(embedded_store(tmp_path), "run-2"), other, is_running=False)
    assert counts.children == 4
    assert record.trials_tagged_pareto() == {trial.number for trial in content_of(sample_trials(2)).front.trials}


def test_nothing_is_written_outside_the_folder_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    record = MlflowRecord(embedded_store(tmp_path / "my runs"), "run-1")
    update(record, content_of(sample_trials(1)), is_running=False)
    assert list(elsewhere.iterdir()) == []
    assert {path.name for path in (tmp_path / "my runs").iterdir()} == {"mlflow.db", "mlflow-artifacts"}


@pytest.mark.parametrize(
    ("uri", "artifacts"),
    [
        (None, "runs/mlflow-artifacts"),
        ("sqlite:///elsewhere.db", "runs/mlflow-artifacts"),
        ("http://127.0.0.1:5000", None),
        ("file:///somewhere", None),
    ],
)
def test_artifacts_of_a_database_lie_beside_the_runs_and_others_where_the_store_keeps_them(
    tmp_path: Path, uri: str | None, artifacts: str | None
) -> None:
    store = tracking_store(tmp_path / "runs" / "digits", Tracking(uri=uri))
    assert store.artifacts == (None if artifacts is None else (tmp_path / artifacts).as_uri())


def test_a_model_with_more_knobs_than_one_batch_takes_is_recorded_whole(record: MlflowRecord, runs: Runs) -> None:
    update(record, content_of(sample_trials(1, layers=40)), is_running=False)
    assert len(runs()["trial 1"].data.params) == 40 * 5 + 1


def test_names_that_mlflow_refuses_are_respelled_and_kept_apart() -> None:
    assert with_safe_names({"a(1).x": "1", "a[1].x": "2", "../b": "3", "block/conv": "4"}) == {
        "a_1_.x": "1",
        "a_1_.x-2": "2",
        "_b": "3",
        "block_conv": "4",
    }
    assert with_safe_names({"a": "x" * 600}, longest=499) == {"a": "x" * 499}


EXPERIMENT = """\
name: fake
model: model.npz
data: data.npz
objectives: [metric, size_bytes, latency_ratio]
budget: {trials: 4}
"""


@pytest.fixture
def place(tmp_path: Path, empty_database: Path) -> Path:
    """Return a folder with an experiment in it and an empty record under ``runs``."""
    for name in ("model.npz", "data.npz"):
        (tmp_path / name).touch()
    (tmp_path / "exp.yaml").write_text(EXPERIMENT)
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_database, tmp_path / "runs")
    return tmp_path


def start(place: Path, *words: str, seconds: float = 0.0) -> "subprocess.Popen[str]":
    """Start the command line with an analytic evaluator; a trained trial takes ``seconds``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.experiments.fake_cli", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "FAKE_SECONDS": str(seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def finished(place: Path, *words: str) -> tuple[int, str]:
    """Run the command line to its end; returns exit code and stderr."""
    process = start(place, *words)
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr


def client_of(place: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=embedded_store(place / "runs").uri)


def recorded(place: Path) -> dict[str, Any]:
    """Return MLflow's runs of the experiment by name."""
    client = client_of(place)
    experiment = client.get_experiment_by_name("paretune")
    found = client.search_runs([experiment.experiment_id]) if experiment is not None else []
    return {run.info.run_name: run for run in found}


def page_of(place: Path, run: Any) -> str:
    """Return the page that MLflow holds of a run."""
    return (place / "runs" / "mlflow-artifacts" / run.info.run_id / "artifacts" / "report.html").read_text()


def wait_until(is_so: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.2)


def wait_until_recorded(place: Path) -> None:
    """Wait for the tracking process, which goes on by itself where the search did not wait for it any longer."""
    wait_until(lambda: {name: run.info.status for name, run in recorded(place).items()}.get("fake") == "FINISHED")


def test_a_finished_search_is_recorded_whole_and_sync_proves_the_front(place: Path) -> None:
    code, stderr = finished(place, "search", "exp.yaml")
    assert code == 0, stderr
    wait_until_recorded(place)
    runs = recorded(place)
    assert runs["fake"].data.tags["command"] == "paretune search exp.yaml"
    assert runs["fake"].data.tags["budget"] == "4 trials"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert (place / "runs" / "fake" / "front.png").read_bytes().startswith(b"\x89PNG")
    profile = json.loads((place / "runs" / "fake" / "profile.json").read_text())
    assert f"Profile: {profile['additivity']['sentence']}." in runs["fake"].data.tags["mlflow.note.content"]
    git = ["mlflow.source.git.commit", "mlflow.source.git.branch", "git.changed"]
    assert all(name not in runs["fake"].data.tags for name in git)  # the folder is in no repository
    assert runs["fake"].data.tags["version.python"] == platform.python_version()
    assert runs["fake"].data.tags["machine.threads"] == "1"
    assert runs["fake"].data.metrics["proxies"] > 0
    assert page_of(place, runs["fake"]).startswith("<!DOCTYPE html>")
    for run in runs.values():
        client_of(place).delete_run(run.info.run_id)
    result = sync_run(RunFolder(place / "runs" / "fake"))
    with open_run(RunFolder(place / "runs" / "fake")) as run:
        assert result.front == tuple(sorted(trial.number for trial in run.front().trials))
        assert result.children == result.written == len(run.trials())
    assert {run.info.status for run in recorded(place).values()} == {"FINISHED"}
    assert "The search has ended." in page_of(place, recorded(place)["fake"])
    assert not (place / "mlruns").exists()


@pytest.mark.slow  # one process is killed, and MLflow started three times
def test_a_killed_coordinator_leaves_no_run_running_and_resuming_goes_on_in_the_same_one(place: Path) -> None:
    search = start(place, "search", "exp.yaml", seconds=20)
    try:
        wait_until(lambda: "trial 0" in recorded(place))
        assert recorded(place)["fake"].info.status == "RUNNING"
    finally:
        search.kill()
        search.communicate()
    wait_until(lambda: recorded(place)["fake"].info.status != "RUNNING")
    assert recorded(place)["fake"].info.status == "KILLED"
    assert "RUNNING" not in {run.info.status for run in recorded(place).values()}
    killed = recorded(place)["fake"].info.run_id
    assert finished(place, "search", "exp.yaml")[0] == 0
    wait_until_recorded(place)
    runs = recorded(place)
    assert runs["fake"].info.run_id == killed
    with open_run(RunFolder(place / "runs" / "fake")) as run:
        assert len(runs) == 1 + len(run.trials())


@pytest.mark.slow  # MLflow tries a server that is down for a while
def test_a_server_that_is_down_neither_slows_nor_fails_the_search(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        port = taken.getsockname()[1]
        (place / "exp.yaml").write_text(EXPERIMENT + f"tracking: {{uri: 'http://127.0.0.1:{port}'}}\n")
        code, stderr = finished(place, "search", "exp.yaml")
    assert code == 0
    assert stderr.count("MLflow is behind; run `paretune sync runs/fake`.") == 1
    with open_run(RunFolder(place / "runs" / "fake")) as run:
        assert count_trained(run.trials()) >= 4
        # nobody waits for MLflow between trials: what is between them is the sampler and the disk
        assert run.ledger.seconds_searched() < 20


def test_sync_refuses_while_a_search_writes_the_record(place: Path) -> None:
    assert finished(place, "search", "exp.yaml", "--no-tracking")[0] == 0
    folder = RunFolder(place / "runs" / "fake")
    with writing_record(folder.path, patience_seconds=0), pytest.raises(RunError, match="Another process is writing"):
        sync_run(folder)


@pytest.mark.slow  # MLflow tries a server that is down for a while
def test_sync_says_in_one_line_that_the_server_is_down(place: Path) -> None:
    (place / "exp.yaml").write_text(EXPERIMENT + "tracking: {uri: 'http://user:secret@127.0.0.1:9'}\n")
    assert finished(place, "search", "exp.yaml", "--no-tracking")[0] == 0
    code, stderr = finished(place, "sync", "fake")
    assert code == 1
    assert len(stderr.strip().splitlines()) == 1
    assert stderr.startswith("error: MLflow at http://127.0.0.1:9 must be reachable")
    assert "secret" not in stderr
