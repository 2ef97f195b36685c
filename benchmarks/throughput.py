"""Two workers against one, and a family of trials against its stem."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cases import CASES, leaves, random_candidates, with_formats_of
from trial_runs import Recorder, TrialFigures

from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.workers.pool import WorkerPool, build_keras_evaluator
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung

_LEAVES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Trials of single-threaded workers.

    Attributes:
        workers: How many.
        new_formats: Whether each trial had number formats of its own, so that its latency had to be measured.
        trials: How many.
        seconds: Wall seconds for all of them; every worker had traced its graphs before.
    """

    workers: int
    new_formats: bool
    trials: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A trial, and trials that take its trained weights over."""

    stem: TrialFigures
    leaves: tuple[TrialFigures, ...]


def compare_workers(case: str, scratch: Path, *, trials: int) -> tuple[Throughput, ...]:
    """Let one worker and two run the same trials."""
    return tuple(figures for workers in (1, 2) for figures in _throughputs(case, scratch, workers, trials))


def _throughputs(case: str, scratch: Path, workers: int, trials: int) -> list[Throughput]:
    settings = replace(CASES[case].settings(scratch), turnstile_folder=str(scratch / "turnstile"))
    with WorkerPool(settings, workers, scratch / "worker.log") as pool:
        candidates = random_candidates(CASES[case], pool.describe())
        example = next(candidates)
        # at the same time, so that every worker traces its graphs and knows the latency of these formats
        _seconds(pool, [replace(example, seed=number) for number in range(workers)])
        new = list(itertools.islice(candidates, trials))
        known = [with_formats_of(candidate, example) for candidate in new]
        return [
            Throughput(workers=workers, new_formats=is_new, trials=trials, seconds=_seconds(pool, each))
            for is_new, each in ((False, known), (True, new))
        ]


def _seconds(pool: WorkerPool, candidates: Sequence[Candidate]) -> float:
    started = time.perf_counter()
    for future in [pool.submit(candidate, Rung.FULL, Limit()) for candidate in candidates]:
        future.result()
    return time.perf_counter() - started


def run_families(case: str, scratch: Path, families: int) -> tuple[Family, ...]:
    """Run families in this process, after a trial that traces the graphs.

    Raises:
        RuntimeError: A trial failed, or the engine trained what it should have known.
    """
    found = []
    with TemporaryDirectory(prefix="paretune-benchmark-") as folder:
        settings = replace(CASES[case].settings(scratch), stage_folder=str(Path(folder) / "stages"))
        evaluator = build_keras_evaluator(settings)
        layers = evaluator.describe().layers
        recorder = Recorder(evaluator, SqlLedger.create(Path(folder) / "ledger.db"))
        candidates = random_candidates(CASES[case], evaluator.describe())
        _complete(recorder, next(candidates))
        for stem in itertools.islice(candidates, families):
            first = _complete(recorder, stem)
            later = [_complete(recorder, leaf) for leaf in itertools.islice(leaves(stem, layers), _LEAVES)]
            if first.reused_stages or not all(len(trial.reused_stages) == 3 for trial in later):
                raise RuntimeError("a stem must be trained and its leaves must not be")
            found.append(Family(stem=first, leaves=tuple(later)))
        recorder.ledger.close()
    return tuple(found)


def _complete(recorder: Recorder, candidate: Candidate) -> TrialFigures:
    figures = recorder.run(0, candidate)
    if figures is None:
        raise RuntimeError(f"a trial failed: {recorder.failures[-1]}")
    return figures
