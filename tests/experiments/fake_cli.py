"""The command line with an analytic evaluator in its workers: ``python -m tests.experiments.fake_cli search ...``.

Everything else is real: worker processes, ledger, signals, MLflow.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from paretune.experiments.cli import main
from paretune.experiments.workers import pool
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.evaluator import Split
from paretune.spaces.results.measurement import Measurement
from tests.fakes import AnalyticEvaluator


class FileEvaluator(AnalyticEvaluator):
    """Writes the values of a trial into its file, and measures a file by reading them.

    A trained trial takes ``FAKE_SECONDS`` seconds, an untrained one ``FAKE_PROXY_SECONDS``. With ``FAKE_DRIFT``, files
    measure otherwise than they did.
    """

    def baseline(self) -> Measurement:
        return _with_file(super().baseline())

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        time.sleep(float(os.environ.get("FAKE_PROXY_SECONDS" if rung is Rung.PROXY else "FAKE_SECONDS", "0")))
        return _with_file(super().evaluate(candidate, rung, limit))

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        values: dict[str, float] = json.loads(model)
        values["accuracy"] += float(os.environ.get("FAKE_DRIFT", "0"))
        if split is Split.TEST:
            values["accuracy"] -= 0.005
        return {name: value for name, value in values.items() if name != "latency_ratio"}


def _with_file(measurement: Measurement) -> Measurement:
    return replace(measurement, artifacts={"model.tflite": json.dumps(dict(measurement.values)).encode()})


def build(settings: EvaluatorSettings) -> FileEvaluator:
    return FileEvaluator()


if __name__ == "__main__":
    # A function that can be pickled by name: this module is `__main__` here, and something else in a worker.
    from tests.experiments.fake_cli import build as build_by_name

    pool.build_keras_evaluator = build_by_name
    main()
