"""A run in the hands of a program."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

import paretune
from paretune.experiments.cli import paretune as command_line
from paretune.experiments.runs.folder import RunFolder
from paretune.spaces.errors import ConfigurationError, RunError
from paretune.spaces.results.ledger import Ledger
from tests.experiments.funnel_runs import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("place"), trials=8)


@pytest.fixture
def run(folder: RunFolder) -> paretune.Run:
    return paretune.open_run(folder.path)


def printed_front(folder: RunFolder, *bounds: str) -> dict[str, object]:
    done = CliRunner().invoke(command_line, ["front", str(folder), "--format", "json", *bounds], catch_exceptions=False)
    document: dict[str, object] = json.loads(done.stdout)
    return document


def test_the_front_is_the_one_that_the_command_line_prints(run: paretune.Run, folder: RunFolder) -> None:
    printed = printed_front(folder)
    frame = run.front()
    assert list(frame.index) == [point["trial"] for point in printed["front"]]  # type: ignore[attr-defined]
    for point in printed["front"]:  # type: ignore[attr-defined]
        row = frame.loc[point["trial"]]
        assert row["accuracy"] == point["values"]["accuracy"]
        assert row["size_bytes"] == point["values"]["size_bytes"]
        assert bool(row["knee"]) is point["knee"]
        assert row["smaller"] == pytest.approx(frame.attrs["baseline"]["size_bytes"] / row["size_bytes"])
    assert frame.attrs["metric"] == "accuracy"
    assert frame.attrs["objectives"] == {"accuracy": "maximize", "size_bytes": "minimize"}
    assert frame.attrs["run"] == str(folder)


def test_every_trial_has_a_row_the_baseline_first(run: paretune.Run) -> None:
    frame = run.trials()
    assert list(frame.index) == list(range(len(frame)))
    assert frame.loc[0, "origin"] == "baseline"
    assert frame.loc[0, "smaller"] == 1
    assert set(run.front().index) < set(frame.index)


def test_a_pick_is_the_knee_or_what_its_name_says(run: paretune.Run) -> None:
    frame = run.front()
    assert run.pick().trial == run.pick("knee").trial == frame.index[frame["knee"]].item()
    smallest = run.pick("smallest")
    assert smallest.trial == frame["size_bytes"].idxmin()
    assert run.pick(int(smallest.trial)) == smallest
    assert smallest.path == run.path / "trials" / f"{smallest.trial:05d}" / "model.tflite"
    assert smallest.path.is_file()
    assert list(smallest.policy) == [f"conv{index}" for index in range(len(smallest.policy))]
    assert f"trial {smallest.trial}: accuracy" in repr(smallest)


def test_within_bounds_a_pick_is_the_best_by_what_is_not_bounded(run: paretune.Run) -> None:
    frame = run.front()
    most = sorted(frame["size_bytes"])[len(frame) // 2]
    within = frame[frame["size_bytes"] <= most]
    assert run.pick(max_size=float(most)).trial == within["accuracy"].idxmax()
    assert run.pick(max_size=f"{most / 1000:.3f}kB").trial == within["accuracy"].idxmax()
    assert list(run.front(max_size=float(most)).index) == list(within.index)


def test_where_nothing_meets_the_bounds_the_nearest_is_named(run: paretune.Run) -> None:
    with pytest.raises(ConfigurationError, match=r"No trial meets the bounds; trial \d+ comes nearest: size .* above"):
        run.pick(max_size="1B")
    assert len(run.front(max_size="1B")) == 0


def test_a_name_and_bounds_together_are_refused(run: paretune.Run) -> None:
    with pytest.raises(ConfigurationError, match="`which` or bounds, not both"):
        run.pick("knee", max_drop=0.1)


def test_a_pick_that_is_none_is_told_with_the_known_ones(run: paretune.Run) -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'knee'"):
        run.pick("kne")


def test_a_run_tells_what_it_is_in_a_line_and_in_a_notebook(run: paretune.Run, folder: RunFolder) -> None:
    front, trials = run.front(), run.trials()
    assert repr(run).startswith(f"<paretune.Run {folder}: {len(trials)} trials, {len(front)} on the front, knee <trial")
    page = run._repr_html_()
    assert page.count("<tr") == 2 + len(front)
    assert "kB" in page
    assert "baseline: accuracy" in page


def test_the_front_is_drawn_with_every_point(run: paretune.Run) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert run.plot(axes) is axes
    drawn = sum(len(points.get_offsets()) for points in axes.collections)
    assert drawn == len(run.front()) + 1  # and the baseline
    assert {text.get_text() for text in axes.texts} == {str(number) for number in run.front().index}


def test_a_run_that_is_not_there_is_told_with_the_known_ones(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.path.parent.parent)
    assert paretune.open_run("fake").path == Path("runs/fake")
    with pytest.raises(RunError, match=r"There is no run 'fke'; known in runs are fake. Did you mean 'fake'"):
        paretune.open_run("fke")


def test_an_open_run_sees_what_a_search_adds(tmp_path: Path) -> None:
    from paretune.experiments.runs.ledger import SqlLedger
    from tests.experiments.sample_trials import sample_trials

    made = make_run(tmp_path, trials=2)
    run = paretune.open_run(made.path)
    before = len(run.trials())
    ledger: Ledger = SqlLedger.open(made.ledger)
    trial = sample_trials(1)[1]
    ledger.refuse(candidate=trial.candidate, rung=trial.rung, origin="tpe", parameters={}, reason="Too large.")
    ledger.close()  # type: ignore[attr-defined]
    assert len(run.trials()) == before + 1
    refused = run.trials().iloc[-1]
    assert (refused["state"], refused["reason"]) == ("refused", "Too large.")
    assert math.isnan(refused["accuracy"])
