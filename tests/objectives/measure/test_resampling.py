"""Metrics on resamples of the rows; none of this needs TensorFlow."""

import time

import numpy as np
import pytest

from paretune.objectives.measure import resampling
from paretune.objectives.measure.resampling import resample
from paretune.spaces.errors import MeasurementFailed
from paretune.spaces.results.resampling import FEWEST_RESAMPLES, RESAMPLES, difference

RIGHT = np.arange(500) % 10 > 0


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution():
    interval = resample("accuracy", lambda rows: RIGHT[rows].mean(), len(RIGHT)).interval
    assert interval is not None
    half = 1.96 * np.sqrt(0.9 * 0.1 / 500)
    assert (interval.low, interval.high) == pytest.approx((0.9 - half, 0.9 + half), abs=0.004)


def test_every_file_is_measured_on_the_same_resamples(monkeypatch):
    first = resample("accuracy", lambda rows: RIGHT[rows].mean(), 500)
    monkeypatch.setattr(resampling, "_MOST_NUMBERS", 1)
    assert resample("accuracy", lambda rows: RIGHT[rows].mean(), 500) == first
    better = resample("accuracy", lambda rows: RIGHT[rows].mean() + 0.001, 500)
    interval = difference(better, first)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.001, 0.001))


def test_a_slow_metric_gets_fewer_resamples_the_first_ones_and_a_very_slow_one_none(monkeypatch):
    whole = resample("mae", lambda rows: float(rows.mean()), 50)
    assert len(whole.values) == RESAMPLES
    monkeypatch.setattr(resampling, "_SECONDS", 0.5)

    def slow(rows):
        until = time.process_time() + 0.001
        while time.process_time() < until:
            pass
        return float(rows.mean())

    fewer = resample("mae", slow, 50)
    assert fewer.values == whole.values[:FEWEST_RESAMPLES]
    monkeypatch.setattr(resampling, "_SECONDS", 0.01)
    none = resample("mae", slow, 50)
    assert not none.values
    assert none.reason.startswith("mae takes ")
    assert "too long for 200 resamples" in none.reason


def test_a_metric_that_fails_on_a_resample_says_so():
    def needs_row_0(rows):
        if 0 not in rows:
            raise MeasurementFailed("Metric 'auc' failed: ValueError: only one class")
        return 1.0

    found = resample("auc", needs_row_0, 100)
    assert not found.values
    assert found.reason == "On a resample of the samples: Metric 'auc' failed: ValueError: only one class"


def test_one_row_cannot_be_resampled():
    assert "at least 2 samples" in resample("accuracy", lambda rows: 1.0, 1).reason
