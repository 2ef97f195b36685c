"""Evaluators that worker processes build in tests; what each candidate makes them do is its seed."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import DataError, Infeasible, LimitReached, MeasurementFailed
from paretune.spaces.results.evaluator import ModelDescription, Split
from paretune.spaces.results.measurement import Measurement
from tests.fakes import AnalyticEvaluator, GradualEvaluator, VariedEvaluator

(MEASURE, KILL, EXIT, HANG, INFEASIBLE, UNMEASURED, LIMIT, BUG, AWKWARD_BUG, GROW, RUN_OUT, PRINT, SLOW, CTRL_C) = (
    range(14)
)


class AwkwardError(Exception):
    """Cannot be unpickled: its constructor wants more than its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class ScriptedEvaluator(AnalyticEvaluator):
    """Behaves as the seed of a candidate says."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        self._misbehave(candidate.seed)
        measurement = super().evaluate(candidate, rung, limit)
        return replace(measurement, details={"pid": os.getpid(), "environment": dict(os.environ)})

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        return {"accuracy": 0.5, "size_bytes": float(len(model))}

    def _misbehave(self, how: int) -> None:
        if how == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == EXIT:
            os._exit(3)
        if how == HANG:
            time.sleep(600)
        if how == SLOW:
            time.sleep(1)
        if how == CTRL_C:
            os.kill(os.getpid(), signal.SIGINT)
        if how == GROW:
            self.__dict__["ballast"] = os.urandom(1) * 50_000_000
        if how == PRINT:
            print("said in a worker")
            os.write(2, b"said below Python\n")
        errors = {
            INFEASIBLE: Infeasible("no such policy"),
            UNMEASURED: MeasurementFailed("no interpreter"),
            LIMIT: LimitReached("after 5 s"),
            BUG: ZeroDivisionError("a bug"),
            AWKWARD_BUG: AwkwardError("this", "that"),
            RUN_OUT: MemoryError(),
        }
        if how in errors:
            raise errors[how]


def build(settings: EvaluatorSettings) -> ScriptedEvaluator:
    return ScriptedEvaluator()


def build_varied(settings: EvaluatorSettings) -> VariedEvaluator:
    return VariedEvaluator()


def build_and_count(settings: EvaluatorSettings) -> ScriptedEvaluator:
    """Leave a line for every evaluator built."""
    with Path(settings.model).open("a") as file:
        file.write("built\n")
    return ScriptedEvaluator()


def refuse(settings: EvaluatorSettings) -> ScriptedEvaluator:
    raise DataError("Labels must be in 0..9, got 12.")


def die(settings: EvaluatorSettings) -> ScriptedEvaluator:
    os.kill(os.getpid(), signal.SIGSEGV)
    sys.exit("unreachable")


def hang(settings: EvaluatorSettings) -> ScriptedEvaluator:
    time.sleep(600)
    return ScriptedEvaluator()


class SlowEvaluator(ScriptedEvaluator):
    """Takes a moment for every trial, so that a test can end it midway."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        time.sleep(0.2)
        return super().evaluate(candidate, rung, limit)


def build_slow(settings: EvaluatorSettings) -> SlowEvaluator:
    return SlowEvaluator()


class StoredEvaluator(GradualEvaluator):
    """Has every stage in store, so that no limit on training steps is ever in the way."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        return super().evaluate(candidate, rung, Limit())


def build_gradual(settings: EvaluatorSettings) -> GradualEvaluator:
    return GradualEvaluator()


def build_stored(settings: EvaluatorSettings) -> StoredEvaluator:
    return StoredEvaluator()


class SeededEvaluator(GradualEvaluator):
    """Comes out a little otherwise with every seed but 0; seed 3 cannot be trained."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        if candidate.seed == 3:
            raise Infeasible("seed 3 gives NaN")
        measurement = super().evaluate(candidate, rung, limit)
        shift = 0.004 * ((candidate.seed * 7) % 5 - 2) if candidate.seed else 0.0
        values = {**measurement.values, "accuracy": measurement.values["accuracy"] + shift + self.drift}
        return replace(measurement, values=values, artifacts={"model.tflite": repr(values).encode()})

    drift = 0.0


class DriftedEvaluator(SeededEvaluator):
    """Is of other versions, and comes out a little otherwise."""

    drift = -0.001

    def describe(self, hyperparameters: Mapping[str, Any] | None = None) -> ModelDescription:
        description = super().describe(hyperparameters)
        return replace(description, fingerprint={**description.fingerprint, "numpy": "9.9"})


class FarDriftedEvaluator(DriftedEvaluator):
    """Comes out far worse than it did."""

    drift = -0.2


class OtherModelEvaluator(SeededEvaluator):
    """Is another model."""

    def describe(self, hyperparameters: Mapping[str, Any] | None = None) -> ModelDescription:
        return replace(super().describe(hyperparameters), architecture="f" * 64, fingerprint={"model": "f" * 64})


def build_seeded(settings: EvaluatorSettings) -> SeededEvaluator:
    return SeededEvaluator()


def build_drifted(settings: EvaluatorSettings) -> DriftedEvaluator:
    return DriftedEvaluator()


def build_far_drifted(settings: EvaluatorSettings) -> FarDriftedEvaluator:
    return FarDriftedEvaluator()


def build_other_model(settings: EvaluatorSettings) -> OtherModelEvaluator:
    return OtherModelEvaluator()
