"""Training trials again, with an evaluator in real workers that comes out otherwise with other seeds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paretune.experiments.explaining.reproducing import reproduce_trials, trials_named
from paretune.experiments.explaining.reproduction import (
    Expectation,
    Reproduction,
    Spread,
    Verdict,
    reproduction_document,
)
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import open_run
from paretune.experiments.terminal.reproduction_text import reproduction_lines
from paretune.spaces.errors import RunError
from tests.experiments import evaluators
from tests.experiments.funnel_runs import make_run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return make_run(tmp_path, evaluator=evaluators.SeededEvaluator(), trials=5)


def reproduce(
    folder: RunFolder, which: str = "knee", seeds: int = 0, build: Callable = evaluators.build_seeded, **options: object
) -> tuple[list[Reproduction], Expectation]:
    with open_run(folder) as run:
        return reproduce_trials(run, trials_named(run, which), seeds=seeds, build=build, **options)


def files(folder: RunFolder) -> list[Path]:
    return sorted(folder.reproductions.glob("*.json"))


def test_a_trial_comes_out_with_the_same_bytes_where_nothing_has_changed(folder: RunFolder) -> None:
    [found], expected = reproduce(folder)
    assert expected.is_exact
    assert found.verdict is Verdict.SAME_BYTES
    assert not found.others
    [file] = files(folder)
    assert json.loads(file.read_text())["sha256"] == found.again.sha256


def test_the_smallest_difference_is_too_much_where_nothing_has_changed(folder: RunFolder) -> None:
    with open_run(folder) as run:
        trial = run.front().trials[0]
        model = run.files_of(trial) / "model.tflite"
    model.write_bytes(model.read_bytes() + b" ")
    [found], _ = reproduce(folder, str(trial.number))
    assert found.verdict is Verdict.OUTSIDE
    assert not found.is_as_expected


def test_with_other_versions_new_seeds_tell_the_noise_unasked(folder: RunFolder) -> None:
    heard: list[str] = []
    [found], expected = reproduce(folder, build=evaluators.build_drifted, say=heard.append)
    assert expected.changed == ("numpy: (nothing) -> 9.9",)
    assert found.verdict is Verdict.WITHIN_NOISE
    assert [each.seed for each in found.others] == [1, 2]  # the third cannot be trained
    assert heard.index(expected.sentence) < next(place for place, line in enumerate(heard) if "seed 0" in line)


def test_what_is_beyond_the_noise_is_outside(folder: RunFolder) -> None:
    [found], _ = reproduce(folder, build=evaluators.build_far_drifted)
    assert found.verdict is Verdict.OUTSIDE


def test_a_trial_whose_file_is_gone_is_told_before_anything_is_trained(folder: RunFolder) -> None:
    with open_run(folder) as run:
        trial = run.front().trials[0]
        (run.files_of(trial) / "model.tflite").unlink()
    with pytest.raises(RunError, match=f"The file of trial {trial.number} cannot be read"):
        reproduce(folder, str(trial.number), build=evaluators.refuse)


def test_another_base_model_cannot_be_trained_again(folder: RunFolder) -> None:
    with pytest.raises(RunError, match=r"model: analytic -> ffffffff\.\."):
        reproduce(folder, build=evaluators.build_other_model)


def test_new_seeds_are_trained_once_and_the_own_one_every_time(folder: RunFolder) -> None:
    [first], _ = reproduce(folder, seeds=2)
    assert len(files(folder)) == 3
    heard: list[str] = []
    [again], _ = reproduce(folder, seeds=2, say=heard.append)
    assert len(files(folder)) == 4
    assert again.spreads == first.spreads
    assert "2 trainings with new seeds are known from before" in heard


def test_a_broken_file_of_an_earlier_training_is_a_miss(folder: RunFolder) -> None:
    reproduce(folder, seeds=1)
    for file in files(folder):
        file.write_text("{")
    reproduce(folder, seeds=1)
    assert len(files(folder)) == 4


def test_the_whole_front_is_compared_seed_by_seed_and_stays_as_it_was(folder: RunFolder) -> None:
    with open_run(folder) as run:
        before = run.trials(), run.front().trials
    found, expected = reproduce(folder, "front", seeds=2)
    with open_run(folder) as run:
        assert (run.trials(), run.front().trials) == before
    assert [each.trial for each in found] == list(before[1])
    # all accuracies move alike with a seed, so that no point falls behind another
    assert [each.on_front for each in found] == [2] * len(found)
    document = reproduction_document(found, expected, "accuracy")
    assert json.loads(json.dumps(document, allow_nan=False))["as_expected"]
    assert any("stay on the front with every new seed" in line for line in reproduction_lines(found, expected))


def test_a_point_that_another_one_beats_with_a_new_seed_does_not_stay(folder: RunFolder) -> None:
    from paretune.experiments.explaining.reproduction import with_front

    found, _ = reproduce(folder, "front", seeds=1)
    with open_run(folder) as run:
        facts, baseline = run.facts, run.trial(0)
    assert len(found) > 1
    last = found[-1]  # the largest file: it is on the front for its accuracy alone
    [other] = last.others
    worse = replace(other, values={**other.values, "accuracy": 0.0})
    found[-1] = replace(last, others=(worse,))
    counted = with_front(found, facts.objectives, facts.constraints, baseline, 1)
    assert [each.on_front for each in counted] == [1] * (len(found) - 1) + [0]


def test_a_training_that_fails_is_told_with_its_reason(folder: RunFolder) -> None:
    with open_run(folder) as run:
        trial = run.front().trials[0]
        failing = replace(trial, candidate=replace(trial.candidate, seed=3))
        [found], expected = reproduce_trials(run, [failing], build=evaluators.build_seeded)
    assert found.verdict is Verdict.FAILED
    assert not found.is_as_expected
    assert any("seed 3 gives NaN" in line for line in reproduction_lines([found], expected))


def test_a_spread_says_where_the_next_one_should_lie() -> None:
    spread = Spread((1.0, 2.0, 3.0))
    assert (spread.mean, spread.deviation) == (2.0, 1.0)
    # t quantile of 2 degrees of freedom: 4.303
    assert spread.next_one.high == pytest.approx(2.0 + 4.3027 * (1 + 1 / 3) ** 0.5, abs=1e-3)
    assert Spread((1.0,)).next_one.covers(1.0)
