import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from paretune.experiments.config.experiment import Experiment, parse_experiment, with_overrides
from paretune.experiments.profiles.keeping import profile_files
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.ledger_rows import MEASUREMENTS, RESAMPLES
from paretune.experiments.runs.run import open_run
from paretune.experiments.runs.searching import (
    PreparedRun,
    finished_run,
    prepare_run,
    run_folder_of,
    search_problem,
    search_run,
)
from paretune.search.events import Profiling, TrialEnded, TrialStarted
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError, DataError, RunError
from paretune.spaces.results.resampling import interval_in
from paretune.spaces.results.trial import Trial, TrialState, count_trained
from tests.experiments import evaluators as scripted
from tests.fakes import AnalyticEvaluator

TEXT = """
model: "zoo:model"
data: "zoo:data"
space: {sparsity: [0, 0.5, 0.8], clusters: [none, 16], quantization: [float32, int8_qat]}
budget: {trials: 8}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return parse_experiment(TEXT, tmp_path / "fake.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "fake")


@contextmanager
def prepared(experiment: Experiment, folder: RunFolder, **options: Any) -> Iterator[PreparedRun]:
    with prepare_run(experiment, folder, **{"build": scripted.build, **options}) as ready:
        yield ready


def search(experiment: Experiment, folder: RunFolder, **options: Any) -> list[Trial]:
    """Search, and return the trials that ended during this call."""
    ended: list[Trial] = []
    with prepared(experiment, folder) as ready:
        search_run(ready, notify=lambda event: ended.append(event.trial) if isinstance(event, TrialEnded) else None,
                   **options)  # fmt: skip
    return ended


def test_a_search_leaves_a_run_that_reads_without_a_worker(experiment: Experiment, folder: RunFolder) -> None:
    search(experiment, folder)
    with open_run(folder) as run:
        trials = run.trials()
        front = run.front()
        assert count_trained(trials) == 8
        assert front.points
        assert front.knee is not None
        assert run.facts.description == AnalyticEvaluator().describe()
        assert [objective.name for objective in run.facts.objectives] == ["accuracy", "size_bytes"]
        assert run.experiment == experiment
        assert len(run.facts.run_id) == 32
        expected = AnalyticEvaluator().evaluate(front.knee.candidate, Rung.FULL, Limit())
        assert run.model_of(front.knee) == expected.artifacts["model.tflite"]
        assert run.hypervolumes()[-1][1] > 0
    assert folder.experiment.read_text() == TEXT


def test_a_search_leaves_its_profile_as_picture_and_data(experiment: Experiment, folder: RunFolder) -> None:
    search(replace(experiment, sampler="funnel"), folder)
    picture, data = profile_files(folder.path)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(json.loads(data.read_text())["layers"]) == 4


def test_an_interrupted_search_leaves_its_profile_if_it_is_complete(experiment: Experiment, folder: RunFolder) -> None:
    experiment = replace(experiment, sampler="funnel")
    heard: list[object] = []
    with prepared(experiment, folder) as ready:
        search_run(ready, notify=heard.append, stop_requested=lambda: any(isinstance(one, Profiling) for one in heard))
    assert not profile_files(folder.path)[1].exists()
    heard.clear()
    with prepared(experiment, folder) as ready:
        outcome = search_run(
            ready, notify=heard.append, stop_requested=lambda: any(isinstance(one, TrialStarted) for one in heard)
        )
    assert outcome.interrupted
    assert all(file.is_file() for file in profile_files(folder.path))


def test_the_baseline_is_trial_zero_and_measured_once(experiment: Experiment, folder: RunFolder) -> None:
    with prepared(experiment, folder) as ready:
        [baseline] = ready.run.trials()
    assert (baseline.number, baseline.origin, baseline.state) == (0, "baseline", TrialState.COMPLETE)
    assert baseline.candidate.policy.is_untouched
    with prepared(experiment, folder) as ready:
        assert list(ready.run.trials()) == [baseline]


def test_the_front_and_the_baseline_are_measured_on_the_test_split(experiment: Experiment, folder: RunFolder) -> None:
    search(experiment, folder)
    with open_run(folder) as run:
        trials = run.trials()
        measured = {trial.number for trial in trials if trial.test_values}
        assert measured == {0, *(trial.number for trial in run.front(trials).trials)}
        assert trials[0].test_values["accuracy"] == 0.5
        assert run.ledger.resamples().keys() == measured


def test_a_run_that_ended_before_there_were_intervals_has_them_measured_when_searched_again(
    experiment: Experiment, folder: RunFolder
) -> None:
    search(experiment, folder)
    with SqlLedger.open(folder.ledger)._transaction() as connection:
        connection.execute(delete(MEASUREMENTS).where(MEASUREMENTS.c.kind == RESAMPLES))
    ledger = SqlLedger.open(folder.ledger)
    ledger.remember({"outcome": {**ledger.fact("outcome"), "test": None}})
    ledger.close()
    assert finished_run(experiment, folder) is None
    search(experiment, folder)
    with open_run(folder) as run:
        front = run.front().trials
        assert {0, *(trial.number for trial in front)} == run.ledger.resamples().keys()
        assert all(interval_in(trial.test_values, "accuracy") is not None for trial in front)


def test_a_finished_search_has_nothing_left_to_do_until_something_changes(
    experiment: Experiment, folder: RunFolder
) -> None:
    assert finished_run(experiment, folder) is None
    search(experiment, folder)
    run = finished_run(experiment, folder)
    assert run is not None
    run.ledger.close()
    assert finished_run(with_overrides(experiment, trials=9), folder) is None
    assert finished_run(replace(experiment, seed=1), folder) is None
    search(with_overrides(experiment, trials=9), folder, stop_requested=lambda: True)
    assert finished_run(experiment, folder) is None


def test_a_raised_budget_goes_on_where_the_search_stopped(experiment: Experiment, folder: RunFolder) -> None:
    before = search(experiment, folder)
    after = search(with_overrides(experiment, trials=11), folder)
    assert count_trained(after) == 3
    assert not {trial.candidate.digest for trial in after} & {trial.candidate.digest for trial in before}


def test_a_stopped_search_goes_on_and_is_not_finished(experiment: Experiment, folder: RunFolder) -> None:
    search(experiment, folder, stop_requested=lambda: True)
    assert finished_run(experiment, folder) is None
    assert count_trained(search(experiment, folder)) == 8


def test_a_changed_experiment_is_refused_with_the_difference(experiment: Experiment, folder: RunFolder) -> None:
    search(experiment, folder)
    changed = replace(experiment, seed=5)
    with pytest.raises(RunError, match=r"searched with something else: seed: 0 -> 5\."), prepared(changed, folder):
        pass
    with open_run(folder) as run:
        assert run.experiment.seed == 0


def test_budget_workers_and_tracking_may_change(experiment: Experiment, folder: RunFolder) -> None:
    with prepared(experiment, folder) as ready:
        run_id = ready.run.facts.run_id
    changed = replace(with_overrides(experiment, trials=3, workers=2), tracking=None, trial_minutes=1.0)
    with prepared(changed, folder) as ready:
        assert (ready.run.facts.run_id, ready.pool.workers) == (run_id, 2)
        assert ready.problem.budget.trials == 3


def test_two_searches_cannot_use_one_folder(experiment: Experiment, folder: RunFolder) -> None:
    with (
        prepared(experiment, folder),
        pytest.raises(RunError, match="Another search is using"),
        prepared(experiment, folder),
    ):
        pass


def test_what_is_wrong_with_the_data_leaves_no_run_behind(experiment: Experiment, folder: RunFolder) -> None:
    with pytest.raises(DataError, match="Labels must be"), prepared(experiment, folder, build=scripted.refuse):
        pass
    assert not folder.exists


def test_objectives_are_named_by_metric_or_by_their_own_name_metric_first(experiment: Experiment) -> None:
    description = AnalyticEvaluator().describe()
    asked = replace(experiment, objectives=("size_bytes", "metric"))
    named = replace(experiment, objectives=("size_bytes", "accuracy"))
    for one in (asked, named):
        assert [item.name for item in search_problem(one, description).objectives] == ["accuracy", "size_bytes"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("objectives: [acuracy]", r"Objective 'acuracy' is not measured; .* Did you mean 'accuracy'\? \(fake.yaml\)"),
        ("constraints: {size: 0.5x}", r"'size' is not measured; .*\(fake.yaml\)"),
        ("space: {pinned: {nowhere: {}}}", r"No layer matches 'nowhere'; .*\(fake.yaml\)"),
    ],
)
def test_what_does_not_fit_the_model_is_told_with_the_file(text: str, said: str) -> None:
    asked = parse_experiment(f"model: a:b\ndata: c:d\n{text}\n", Path("fake.yaml"))
    with pytest.raises(ConfigurationError, match=said):
        search_problem(asked, AnalyticEvaluator().describe())


def test_a_constraint_on_metric_bounds_the_task_s_metric() -> None:
    asked = parse_experiment("model: a:b\ndata: c:d\nconstraints: {metric: {drop: 0.1}}\n", Path("fake.yaml"))
    [constraint] = search_problem(asked, AnalyticEvaluator().describe()).constraints
    assert str(constraint) == "accuracy drop 0.1"


def test_a_run_lives_under_runs_or_where_it_is_told(experiment: Experiment) -> None:
    assert run_folder_of(experiment).path == Path("runs/fake")
    assert run_folder_of(experiment, Path("there")).path == Path("there")


def test_a_missing_file_of_a_trial_is_one_line(experiment: Experiment, folder: RunFolder) -> None:
    with prepared(experiment, folder):
        pass
    with open_run(folder) as run:
        baseline = run.trial(0)
        (run.files_of(baseline) / "model.tflite").unlink()
        with pytest.raises(RunError, match="The file of trial 0 cannot be read"):
            run.model_of(baseline)
        with pytest.raises(RunError, match="There is no trial 7"):
            run.trial(7)


def test_a_killed_search_goes_on_and_repeats_nothing(experiment: Experiment, folder: RunFolder) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from paretune.experiments.config.experiment import parse_experiment\n"
        "from paretune.experiments.runs.folder import RunFolder\n"
        "from tests.experiments import evaluators; from tests.experiments.runs import test_searching as t\n"
        "experiment = parse_experiment(t.TEXT, Path(sys.argv[1]))\n"
        "with t.prepared(experiment, RunFolder(Path(sys.argv[2])), build=evaluators.build_slow) as ready:\n"
        "    t.search_run(ready, notify=lambda event: print(type(event).__name__, flush=True))\n"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", script, experiment.file, folder.path],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )
    with killed:
        assert killed.stdout is not None
        ended = 0
        while ended < 3:
            line = killed.stdout.readline()
            assert line
            ended += line == "TrialEnded\n"
        os.kill(killed.pid, signal.SIGKILL)
    with open_run(folder) as run:
        before = [trial for trial in run.trials() if trial.state is TrialState.COMPLETE]
    until = time.monotonic() + 10
    while time.monotonic() < until:  # the kernel may need a moment to let go of the lock
        try:
            search(experiment, folder)
            break
        except RunError:
            time.sleep(0.1)
    with open_run(folder) as run:
        trials = run.trials()
        front = run.front(trials)
    assert len(before) >= 4
    assert [replace(trial, test_values={}) for trial in trials[: len(before)]] == before
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert len({trial.candidate.digest for trial in trials}) == len(trials)
    assert count_trained(trials) == 8
    assert front.points


def test_a_damaged_fact_base_is_one_line(experiment: Experiment, folder: RunFolder) -> None:
    with prepared(experiment, folder) as ready:
        ready.run.ledger.remember({"facts": None})
    with pytest.raises(RunError, match="ended before it began"):
        open_run(folder)
