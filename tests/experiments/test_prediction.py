"""Predictions of untrained policies, and how far off they are said to be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.experiments.prediction import RunPredictor
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import open_run
from paretune.experiments.runs.run_profile import profile_of
from paretune.search.front import values_of, volume_row
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from tests.experiments.funnel_runs import make_run
from tests.fakes import ACCURACY, LATENCY, SIZE, GradualEvaluator

OBJECTIVES = (ACCURACY, SIZE, LATENCY)


class CapriciousEvaluator(GradualEvaluator):
    """Gives the file of a policy that touches several layers a size of its own, which nothing about it tells."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Any:
        measurement = super().evaluate(candidate, rung, limit)
        if sum(not decided.is_untouched for decided in candidate.policy.values()) < 3:
            return measurement
        caprice = 1 + 0.5 * int(candidate.policy.digest[:4], 16) / 0xFFFF
        size = round(measurement.values["size_bytes"] * caprice)
        return replace(measurement, values={**measurement.values, "size_bytes": size})


def predictor_of(folder: RunFolder) -> RunPredictor:
    with open_run(folder) as run:
        trials = run.trials()
        found = profile_of(run, trials)
        assert found is not None
        return RunPredictor(run, found, trials, OBJECTIVES)


def test_with_few_finished_trials_nothing_can_be_said(tmp_path: Path) -> None:
    predictor = predictor_of(make_run(tmp_path, trials=3))
    assert np.isinf(predictor.widening).all()
    guess = predictor.predict(np.zeros((1, 4), dtype=np.int64))
    assert np.isfinite(guess.mean).all()
    assert np.isinf(guess.deviation).all()


def test_a_prediction_that_bears_out_is_not_widened(tmp_path: Path) -> None:
    assert predictor_of(make_run(tmp_path, trials=12)).widening[1:].tolist() == [1.0, 1.0]


def test_sizes_that_nothing_tells_are_predicted_with_a_deviation_that_most_keep(tmp_path: Path) -> None:
    # every trial is measured untrained before, by which its size is known: that must not pass for a prediction
    folder = make_run(tmp_path, trials=40, evaluator=CapriciousEvaluator(), rungs=tuple(Rung))
    predictor = predictor_of(folder)
    assert predictor.widening[1] > 1.5
    with open_run(folder) as run:
        found = profile_of(run)
        assert found is not None
        encoding = found.plan.encoding
        draws = np.random.default_rng(0)
        rows = draws.integers(0, encoding.option_counts, size=(60, len(encoding.units)))
        guess = predictor.predict(rows)
        candidate = run.trials()[1].candidate
    measured = [
        CapriciousEvaluator().evaluate(replace(candidate, policy=encoding.policy_of(row)), Rung.FULL, Limit()).values
        for row in rows.tolist()
    ]
    sizes = np.array([volume_row(values, [SIZE])[0] for values in measured])
    assert np.mean(np.abs(sizes - guess.mean[:, 1]) <= guess.deviation[:, 1]) > 0.7


@pytest.mark.parametrize("rung", [Rung.SHORT, Rung.PROXY])
def test_only_what_was_trained_in_full_counts(rung: Rung, tmp_path: Path) -> None:
    with open_run(make_run(tmp_path, trials=8)) as run:
        trials = run.trials()
        found = profile_of(run, trials)
        assert found is not None
        fewer = [trials[0], *(replace(trial, rung=rung) for trial in trials[1:4]), *trials[4:6]]
        assert values_of(fewer[1])
        assert np.isinf(RunPredictor(run, found, fewer, OBJECTIVES).widening).all()
        assert np.isfinite(RunPredictor(run, found, trials, OBJECTIVES).widening).all()
