"""Points of a front that their neighbours equal for all that the test split can tell."""

import json
from dataclasses import replace

from paretune.experiments.explaining.noise import neighbours_of, no_interval_because
from paretune.experiments.terminal.front_document import front_document
from paretune.experiments.terminal.tables import front_table, noise_lines
from paretune.experiments.tracking.content import front_csv, trial_content
from paretune.search.front import Front
from paretune.spaces.results.resampling import Resampled, with_interval
from tests.experiments.sample_trials import sample_front, sample_trials

WILD = (0.1, 0.9, 0.5, 0.3)


def resampled(shift: float) -> Resampled:
    return Resampled(metric="accuracy", values=tuple(value + shift for value in WILD))


def front_with_resamples() -> tuple[Front, dict[int, Resampled]]:
    """Return a front whose second point is better than the first by more than noise, and whose third is not."""
    front = sample_front(sample_trials(20))
    first, second, third = (trial.number for trial in front.trials[:3])
    mixed = Resampled(metric="accuracy", values=tuple(reversed(WILD)))
    return front, {first: resampled(0.0), second: resampled(0.05), third: mixed}


def test_a_point_is_noise_where_the_paired_difference_covers_zero() -> None:
    front, resamples = front_with_resamples()
    found = neighbours_of(front, resamples)
    first, second, third = (trial.number for trial in front.trials[:3])
    assert set(found) == {second, third}
    assert (found[second].number, found[second].is_noise) == (first, False)
    assert (found[third].number, found[third].is_noise) == (second, True)


def test_the_front_marks_noise_and_says_what_the_mark_means() -> None:
    front, resamples = front_with_resamples()
    found = neighbours_of(front, resamples)
    cells = list(front_table(front, "accuracy", found).columns[1].cells)
    assert [cell.endswith("~") for cell in cells[:3]] == [False, False, True]
    assert len({len(cell) - len(cell.rstrip("~ ")) for cell in cells}) == 1
    trials = [replace(trial, test_values=with_interval(trial.test_values, resampled(0))) for trial in front.trials]
    points = tuple(replace(point, trial=trial) for point, trial in zip(front.points, trials, strict=True))
    lines = noise_lines(replace(front, points=points), "accuracy", found)
    assert lines[0].startswith("accuracy on the test split is known to within +-")
    assert lines[1].startswith("~ ")


def test_without_resamples_nothing_is_said() -> None:
    front, _ = front_with_resamples()
    assert noise_lines(front, "accuracy", {}) == []
    assert "~" not in "".join(front_table(front, "accuracy", {}).columns[1].cells)
    assert no_interval_because(front, {}) == ""


def test_a_metric_that_cannot_be_resampled_says_why() -> None:
    front, resamples = front_with_resamples()
    last = front.trials[0].number
    resamples[last] = Resampled(metric="accuracy", reason="accuracy takes 9 ms on 9 samples.")
    reason = no_interval_because(front, resamples)
    assert noise_lines(front, "accuracy", {}, reason=reason) == [f"No intervals of accuracy: {reason}"]


def test_json_has_the_difference_and_the_interval() -> None:
    front, resamples = front_with_resamples()
    document = json.loads(json.dumps(front_document(front, neighbours_of(front, resamples)), allow_nan=False))
    assert "neighbour" not in document["front"][0]
    third = document["front"][2]["neighbour"]
    assert third["is_noise"]
    assert third["low"] <= 0 <= third["high"]


def test_mlflow_is_told_the_interval() -> None:
    trial = sample_trials(2)[1]
    tested = replace(trial, test_values=with_interval(trial.test_values, resampled(0.0)))
    metrics = trial_content(tested).metrics
    assert metrics["test_accuracy_low"] < metrics["test_accuracy_high"]
    assert "test_accuracy_low" in front_csv(sample_front([sample_trials(2)[0], tested])).splitlines()[0]
