"""Run trials in a process of their own and note what each costs. Importing this needs no TensorFlow."""

import itertools
import logging
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from cases import CASES, random_candidates

from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.workers.handle import WorkerStart
from paretune.experiments.workers.pool import build_keras_evaluator
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import Infeasible, MeasurementFailed
from paretune.spaces.results.evaluator import Evaluator
from paretune.spaces.results.trial import TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFigures:
    """What one trial cost.

    Attributes:
        number: Of the policy in the seeded sequence.
        wall_seconds: Opening the trial, evaluating and recording it; without ``latency_seconds``.
        processor_seconds: What this process computed for in that time; grows less than wall on a busy machine.
        latency_seconds: Measuring the latency of its file.
        step_seconds: Optimizer steps alone.
        seconds: Wall seconds by part of the evaluation.
        accuracy: Of the exported file, on the validation data.
        size_bytes: Of the exported file, deflated.
        resident_bytes: Of the process, when the trial had been recorded.
        reused_stages: Stages that were known from another trial.
        fallback: Why the engine was not used though it was asked for; empty while it was.
    """

    number: int
    wall_seconds: float
    processor_seconds: float
    latency_seconds: float
    step_seconds: float
    seconds: dict[str, float]
    accuracy: float
    size_bytes: float
    resident_bytes: int
    reused_stages: tuple[str, ...] = ()
    fallback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRun:
    """The trials of one model and flow in one process.

    Attributes:
        build_seconds: Loading model and data, converting once, asking the doctor.
        resident_bytes: Of the process before the first trial.
        baseline_accuracy: Of the uncompressed file.
        baseline_bytes: Its deflated size.
        candidates: What was to be measured, in order.
        trials: Those that were measured, in order.
        failures: Why others were not.
    """

    build_seconds: float
    resident_bytes: int
    baseline_accuracy: float
    baseline_bytes: float
    candidates: tuple[Candidate, ...]
    trials: tuple[TrialFigures, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainTrial:
    """What one trial of plain tfmot cost: see :mod:`plain`.

    Attributes:
        wall_seconds: Training, conversion, accuracy and size.
        processor_seconds: What this process computed for in that time.
        accuracy: Of the converted file, on the validation data.
        size_bytes: Of the converted file, deflated.
    """

    wall_seconds: float
    processor_seconds: float
    accuracy: float
    size_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRun:
    """The trials of plain tfmot in one process.

    Attributes:
        trials: Those that were measured, in order.
        failures: Why others were not.
    """

    trials: tuple[PlainTrial, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recorder:
    """Evaluates candidates as a search does: each is a trial of a ledger, and travels between processes."""

    evaluator: Evaluator
    ledger: SqlLedger
    failures: list[str] = field(default_factory=list)

    def run(self, number: int, candidate: Candidate) -> TrialFigures | None:
        """Run one trial; ``None`` where it fails, with the reason among the failures."""
        started, computed_before = time.perf_counter(), time.process_time()
        trial = self.ledger.open_trial(candidate=candidate, rung=Rung.FULL, origin="benchmark", parameters={})
        try:
            measured = self.evaluator.evaluate(candidate, Rung.FULL, Limit())
        except (Infeasible, MeasurementFailed) as error:
            self.ledger.close_trial(replace(trial, state=TrialState.FAILED, reason=str(error), ended=time.time()))
            self.failures.append(str(error))
            return None
        measured = pickle.loads(pickle.dumps(measured, protocol=pickle.HIGHEST_PROTOCOL))  # noqa: S301  # our own
        self.ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=measured, ended=time.time()))
        seconds, processor_seconds = time.perf_counter() - started, time.process_time() - computed_before
        latency_seconds = measured.seconds["latency"]
        return TrialFigures(
            number=number,
            wall_seconds=seconds - latency_seconds,
            processor_seconds=processor_seconds - latency_seconds,  # which keeps one thread busy
            latency_seconds=latency_seconds,
            step_seconds=measured.details["step_seconds"],
            seconds=dict(measured.seconds),
            accuracy=measured.values["accuracy"],
            size_bytes=measured.values["size_bytes"],
            resident_bytes=psutil.Process().memory_info().rss,
            reused_stages=tuple(measured.details["reused_stages"]),
            fallback=measured.details.get("fallback", ""),
        )


def run_flow(case: str, settings: EvaluatorSettings, numbers: Iterable[int], seed: int = 0) -> FlowRun:
    """Run the policies of these numbers in the seeded sequence, in this process; ``seed`` is that of the training."""
    started = time.perf_counter()
    evaluator = build_keras_evaluator(settings)
    build_seconds = time.perf_counter() - started
    wanted = sorted(numbers)
    candidates = itertools.islice(random_candidates(CASES[case], evaluator.describe()), wanted[-1] + 1)
    chosen = [
        (number, replace(candidate, seed=seed + number))
        for number, candidate in enumerate(candidates)
        if number in set(wanted)
    ]
    baseline = evaluator.baseline()
    resident_bytes = psutil.Process().memory_info().rss
    trials = []
    with TemporaryDirectory(prefix="paretune-benchmark-") as folder:
        recorder = Recorder(evaluator, SqlLedger.create(Path(folder) / "ledger.db"))
        for number, candidate in chosen:
            figures = recorder.run(number, candidate)
            if figures is not None:
                trials.append(figures)
                _say(f"{case} {settings.engine} policy {number}: {figures.wall_seconds:.2f} s")
        recorder.ledger.close()
    return FlowRun(
        build_seconds=build_seconds,
        resident_bytes=resident_bytes,
        baseline_accuracy=baseline.values["accuracy"],
        baseline_bytes=baseline.values["size_bytes"],
        candidates=tuple(candidate for _, candidate in chosen),
        trials=tuple(trials),
        failures=tuple(recorder.failures),
    )


def run_plain(case: str, settings: EvaluatorSettings, candidates: Sequence[Candidate], whole: bool) -> PlainRun:
    """Run candidates with plain tfmot, in this process; ``whole`` trains all layers for int8."""
    from plain import PlainFlow  # loads TensorFlow

    warnings.simplefilter("ignore")  # tfmot and the converter remark on what they do
    logging.disable(logging.WARNING)
    flow = PlainFlow(settings)
    trials, failures = [], []
    for candidate in candidates:
        started, computed_before = time.perf_counter(), time.process_time()
        try:
            accuracy, size_bytes = flow.run(candidate, whole=whole)
        except Exception as error:  # whatever tfmot and the converter raise
            failures.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
            continue
        seconds, processor_seconds = time.perf_counter() - started, time.process_time() - computed_before
        trials.append(
            PlainTrial(
                wall_seconds=seconds, processor_seconds=processor_seconds, accuracy=accuracy, size_bytes=size_bytes
            )
        )
        _say(f"{case} plain: {seconds:.2f} s")
    return PlainRun(trials=tuple(trials), failures=tuple(failures))


def apart(threads: int, workers: int = 1) -> ProcessPoolExecutor:
    """Return processes with a worker's environment, a new one for every call."""
    nothing = EvaluatorSettings(model="", data="", beside="", threads=threads)
    os.environ.update(WorkerStart(nothing, build_keras_evaluator, Path(os.devnull)).environment())
    os.environ["TQDM_DISABLE"] = "1"  # ai-edge-quantizer's bars
    return ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), max_tasks_per_child=1, initializer=_keep_native_remarks_away
    )


def _keep_native_remarks_away() -> None:
    """Let Python alone write to the terminal: TensorFlow's libraries remark on missing GPUs whatever they are told."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def call_apart(function: Callable[..., Any], *arguments: Any, threads: int) -> Any:
    """Call a function in a process of its own, in a worker's environment."""
    with apart(threads) as pool:
        return pool.submit(function, *arguments).result()


def _say(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)
