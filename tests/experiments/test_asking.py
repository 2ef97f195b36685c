"""``paretune front`` asked again with bounds, on runs that the funnel has made."""

import json
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.experiments.asking import Answer, ask_run
from paretune.experiments.cli import run as run_cli
from paretune.experiments.config.policy_file import read_policy_file
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.run import open_run
from paretune.experiments.terminal.answer_text import answer_lines
from paretune.experiments.terminal.wording import bytes_text
from paretune.search.front import values_of
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import TrialState
from tests.experiments.funnel_runs import ask, bound_worth_asking, make_run
from tests.experiments.test_cli import run as run_fake
from tests.fakes import ACCURACY, LATENCY, SIZE, GradualEvaluator

#: No file of the analytic evaluator is as small as this.
TOO_SMALL = 1e3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the run ``fake``; tests only read it, or ask."""
    place = tmp_path_factory.mktemp("asked")
    make_run(place, trials=6)
    return place


@pytest.fixture(scope="module")
def folder(place: Path) -> RunFolder:
    return RunFolder(place / "runs" / "fake")


def front(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[str, str]:
    """Return what the command prints on stdout and stderr."""
    monkeypatch.chdir(place)
    assert run_cli(["front", "fake", *words]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def measured(answer: Answer) -> Mapping[str, float]:
    """Return what the named untried policy measures once trained."""
    assert answer.untried is not None
    candidate = Candidate(architecture="", recipe=Recipe(), policy=answer.untried.policy)
    return GradualEvaluator().evaluate(candidate, Rung.FULL, Limit()).values


def test_with_a_bound_on_the_size_the_most_accurate_within_it_is_the_best(folder: RunFolder) -> None:
    answer = ask(folder, max_bytes=8e3)
    assert answer.best is not None
    assert answer.by.name == "accuracy"
    assert answer.front.points
    assert all(values_of(trial)["size_bytes"] <= 8e3 for trial in answer.front.trials)
    assert values_of(answer.best)["accuracy"] == max(values_of(trial)["accuracy"] for trial in answer.front.trials)


def test_with_a_bound_on_the_metric_the_smallest_within_it_is_the_best(folder: RunFolder) -> None:
    answer = ask(folder, max_drop=0.04)
    assert answer.best is not None
    assert answer.by.name == "size_bytes"
    least = values_of(answer.front.baseline)["accuracy"] - 0.04  # type: ignore[arg-type]  # it is there
    assert all(values_of(trial)["accuracy"] >= least for trial in answer.front.trials)
    assert answer.best == answer.front.trials[0]
    assert len(answer.front.points) > 1


@pytest.mark.parametrize(
    ("bounds", "by"),
    [
        ({"max_bytes": 2e4, "max_drop": 0.1}, "latency_ratio"),
        ({"max_bytes": 2e4, "max_latency": 1.0}, "accuracy"),
        ({"max_bytes": 2e4, "max_drop": 0.1, "max_latency": 1.0}, "accuracy"),
    ],
)
def test_the_best_is_best_by_what_no_bound_names(bounds: dict[str, float], by: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path, trials=4, sampler="random", objectives=(ACCURACY, SIZE, LATENCY))
    assert ask(folder, **bounds).by.name == by


def test_drop_counts_from_the_baseline_for_a_metric_that_is_better_smaller(folder: RunFolder) -> None:
    with open_run(folder) as run:
        loss = run.facts.description.objectives["loss"]
        description = replace(run.facts.description, objectives={"loss": loss, SIZE.name: SIZE, LATENCY.name: LATENCY})
        facts = replace(run.facts, description=description, objectives=(loss, SIZE))
        answer = ask_run(replace(run, facts=facts), max_drop=0.02)
        most = values_of(run.trials()[0])["loss"] + 0.02
    assert answer.front.points
    assert all(values_of(trial)["loss"] <= most for trial in answer.front.trials)
    assert "loss" in answer_lines(answer, None)[0]


def test_where_nothing_answers_one_line_tells_what_comes_nearest_and_by_how_much_it_misses(folder: RunFolder) -> None:
    answer = ask(folder, max_bytes=TOO_SMALL)
    assert answer.best is None
    assert answer.nearest is not None
    assert not answer.front.points
    with open_run(folder) as run:
        assert answer.nearest == run.front().trials[0]  # the smallest
    size = values_of(answer.nearest)["size_bytes"]
    [(limit, amount)] = answer.missed
    assert (limit.value, limit.is_upper, amount) == (TOO_SMALL, True, size - TOO_SMALL)
    assert answer_lines(replace(answer, untried=None), None) == [
        f"No trial meets the bounds; trial {answer.nearest.number} comes nearest: "
        f"size {bytes_text(size)} is {bytes_text(amount)} above 1.00 kB."
    ]


def test_every_bound_that_is_missed_is_told_in_the_same_line(folder: RunFolder) -> None:
    answer = ask(folder, max_bytes=TOO_SMALL, max_drop=0.0)
    least = values_of(answer.front.baseline)["accuracy"]  # type: ignore[arg-type]  # it is there
    assert answer.nearest is not None
    accuracy = values_of(answer.nearest)["accuracy"]
    [line] = answer_lines(replace(answer, untried=None), None)
    assert " above 1.00 kB and accuracy " in line
    assert line.endswith(f"accuracy {accuracy:.4g} is {least - accuracy:.4g} below {least:.4g}.")


def test_the_baseline_never_comes_nearest(folder: RunFolder) -> None:
    with open_run(folder) as run:
        bytes_before = values_of(run.trials()[0])["size_bytes"]
    answer = ask(folder, max_bytes=bytes_before - 1, max_drop=0.0)
    assert answer.best is None
    assert answer.nearest is not None
    assert answer.nearest.origin != "baseline"


def test_a_short_trial_never_answers_nor_comes_nearest(tmp_path: Path) -> None:
    folder = make_run(tmp_path, trials=16, sampler="random", rungs=(Rung.SHORT, Rung.FULL))
    with open_run(folder) as run:
        baseline, *trials = run.trials()
    short = [trial for trial in trials if trial.rung is Rung.SHORT]
    assert any(trial.was_stopped for trial in short)
    for trial in short:
        values = values_of(trial)
        # bounds that this very trial would meet
        drop = values_of(baseline)["accuracy"] - values["accuracy"] + 1e-6
        answer = ask(folder, max_bytes=values["size_bytes"], max_drop=drop)
        named = [*answer.front.trials, answer.best, answer.nearest]
        assert not {each.number for each in named if each is not None} & {each.number for each in short}


def test_the_run_s_own_constraints_hold_when_it_is_asked_again(tmp_path: Path) -> None:
    own = Constraint(objective="accuracy", bound=Bound.DROP, value=0.01)
    folder = make_run(tmp_path, trials=6, constraints=(own,))
    answer = ask(folder, max_bytes=5e3)
    assert answer.best is None
    assert {limit.objective for limit, _ in answer.missed} <= {"accuracy", "size_bytes"}
    if answer.untried is not None:
        assert answer.untried.predicted["accuracy"].value >= values_of(answer.front.baseline)["accuracy"] - 0.01  # type: ignore[arg-type]


def test_an_untried_policy_is_named_that_does_better_within_the_bounds(folder: RunFolder) -> None:
    most = bound_worth_asking(folder)
    answer = ask(folder, max_bytes=most)
    assert answer.best is not None
    assert answer.untried is not None
    with open_run(folder) as run:
        assert answer.untried.policy.digest not in {trial.candidate.policy.digest for trial in run.trials()}
    found = measured(answer)
    assert found["accuracy"] > values_of(answer.best)["accuracy"]
    assert found["size_bytes"] <= most


def test_an_untried_policy_keeps_a_bound_on_the_latency_too(folder: RunFolder) -> None:
    answers = [ask(folder, max_bytes=1e3 * kilobytes, max_latency=0.9) for kilobytes in range(6, 36)]
    named = [answer for answer in answers if answer.untried is not None]
    assert named
    for answer in named:
        assert answer.untried is not None
        latency = answer.untried.predicted["latency_ratio"]
        assert latency.value + latency.deviation <= 0.9
        assert measured(answer)["latency_ratio"] <= 0.9


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.RUNNING])
def test_a_policy_that_failed_or_is_being_trained_is_not_named(state: TrialState, tmp_path: Path) -> None:
    folder = make_run(tmp_path, trials=6)
    most = bound_worth_asking(folder)
    named = ask(folder, max_bytes=most).untried
    assert named is not None
    ledger = SqlLedger.open(folder.ledger)
    candidate = replace(ledger.trials()[1].candidate, policy=named.policy)
    trial = ledger.open_trial(candidate=candidate, rung=Rung.FULL, origin="learner", parameters={})
    if state is TrialState.FAILED:
        ledger.close_trial(replace(trial, state=state, reason="no", ended=trial.started + 1))
    ledger.close()
    following = ask(folder, max_bytes=most).untried
    assert following is None or following.policy != named.policy


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_untried_policy_is_better_even_with_one_deviation_of_bad_luck(seed: int, tmp_path: Path) -> None:
    folder = make_run(tmp_path, trials=6, seed=seed)
    named = 0
    for kilobytes in range(4, 36, 2):
        answer = ask(folder, max_bytes=1e3 * kilobytes)
        if answer.untried is not None:
            named += 1
            accuracy, size = (answer.untried.predicted[name] for name in ("accuracy", "size_bytes"))
            assert answer.best is None or accuracy.value - accuracy.deviation > values_of(answer.best)["accuracy"]
            assert size.value + size.deviation <= 1e3 * kilobytes
            found = measured(answer)
            assert answer.best is None or found["accuracy"] > values_of(answer.best)["accuracy"]
            assert found["size_bytes"] <= 1e3 * kilobytes
    assert named < 16


def test_the_command_that_is_printed_trains_the_policy(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    most = bound_worth_asking(RunFolder(place / "runs" / "fake"))
    out, _ = front(place, monkeypatch, capsys, "--max-size", f"{most:.0f}")
    *_, before, command = out.splitlines()
    assert before.startswith("It is in runs/fake/asked/policy-")
    words = shlex.split(command)
    assert words[:2] == ["paretune", "apply"]
    done: subprocess.CompletedProcess[str] = run_fake(place, *words[1:])
    assert done.returncode == 0, done.stderr
    exported = Path(done.stdout.strip())
    document = json.loads((place / exported / "measurement.json").read_text())
    answer = ask(RunFolder(place / "runs" / "fake"), max_bytes=most)
    assert answer.untried is not None
    requested = {layer["layer"]: layer["requested"] for layer in document["fidelity"]}
    assert requested == answer.untried.policy.to_document()["layers"]


def test_the_policy_is_written_only_where_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path, trials=6)
    most = bound_worth_asking(folder)
    front(tmp_path, monkeypatch, capsys)
    front(tmp_path, monkeypatch, capsys, "--max-size", f"{TOO_SMALL:.0f}")
    assert not folder.asked.exists()
    document = json.loads(front(tmp_path, monkeypatch, capsys, "--max-size", f"{most:.0f}", "--format", "json")[0])
    [file] = folder.asked.iterdir()
    assert document["untried"]["policy"] == str(file.relative_to(tmp_path))
    space = build_space(GradualEvaluator().layers, SpaceSettings())
    assert read_policy_file(file).policy(space).digest == document["untried"]["digest"]


def test_json_tells_the_answer_beside_the_front(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document: Any = json.loads(front(place, monkeypatch, capsys, "--max-size", "8kB", "--format", "json")[0])
    assert document["bounds"] == [{"objective": "size_bytes", "bound": 8000.0, "kind": "at most"}]
    assert document["by"] == "accuracy"
    assert document["best"] in [point["trial"] for point in document["front"]]
    assert document["nearest"] is None
    document = json.loads(front(place, monkeypatch, capsys, "--max-size", "1kB", "--format", "json")[0])
    assert (document["front"], document["best"]) == ([], None)
    [miss] = document["nearest"]["misses"]
    assert (miss["objective"], miss["bound"], miss["kind"]) == ("size_bytes", 1000.0, "at most")
    assert miss["by"] > 0
    document = json.loads(front(place, monkeypatch, capsys, "--max-drop", "0.01", "--format", "json")[0])
    assert [bound["kind"] for bound in document["bounds"]] == ["at least"]


def test_without_bounds_the_front_is_shown_as_ever(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(json.loads(front(place, monkeypatch, capsys, "--format", "json")[0])) == {"baseline", "front"}
    out, err = front(place, monkeypatch, capsys)
    assert out.splitlines()[-1].split()[0] == "base"
    assert err == ""


def test_a_run_without_a_profile_is_only_filtered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, trials=6, sampler="random")
    for size in ("10kB", "20kB", "30kB"):
        document = json.loads(front(tmp_path, monkeypatch, capsys, "--max-size", size, "--format", "json")[0])
        assert document["untried"] is None


def test_it_answers_while_a_search_is_writing(tmp_path: Path) -> None:
    folder = make_run(tmp_path, trials=6)
    most = bound_worth_asking(folder)
    before = ask(folder, max_bytes=most)
    writer = SqlLedger.open(folder.ledger)
    try:
        trial = writer.trials()[1]
        candidate = replace(trial.candidate, seed=9)
        opened = writer.open_trial(candidate=candidate, rung=Rung.FULL, origin="tpe", parameters=trial.parameters)
        with folder.lock():
            during = ask(folder, max_bytes=most)
        assert opened.number == len(writer.trials()) - 1
    finally:
        writer.close()
    assert during == before


def test_a_run_whose_folder_cannot_be_written_answers_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path, trials=6)
    most = bound_worth_asking(folder)
    folder.asked.write_text("a file where the folder should be")
    out, err = front(tmp_path, monkeypatch, capsys, "--max-size", f"{most:.0f}")
    assert "An untried policy should do better" in out
    assert "paretune apply" not in out
    assert err.startswith(f"{Path('runs/fake/asked')} cannot be written")
    assert len(err.splitlines()) == 1


def test_a_run_that_has_measured_nothing_yet_has_no_answer(tmp_path: Path) -> None:
    folder = make_run(tmp_path, trials=2)
    with open_run(folder) as run:
        facts = {key: run.ledger.fact(key) for key in ("facts", "experiment")}
    empty = RunFolder(tmp_path / "runs" / "empty")
    empty.make()
    ledger = SqlLedger.create(empty.ledger)
    ledger.remember(facts)
    ledger.close()
    answer = ask(empty, max_bytes=1e4, max_drop=0.1)
    assert answer_lines(answer, None) == []
    assert (answer.best, answer.nearest, answer.untried) == (None, None, None)
