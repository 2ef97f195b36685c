"""Latency of a file relative to the baseline's, measured in turn in one process."""

import math
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paretune.objectives.measure.interpreter import allocate, open_interpreter, run_once

#: Where a file lies in memory decides its speed as much as what it computes, until it is loaded anew: a file of 20
#: microseconds beside itself gave ratios from 0.79 to 1.18 when each was loaded once, and 0.95 to 1.07 with eight.
_LOADS = 8
_WARM_UPS = 2
_LEAST_PAIRS = 4
_MOST_PAIRS = 250
_SECONDS = 0.3 / _LOADS
#: What one timing covers at least: a run of a tiny model takes a microsecond, in which the clock's own cost shows.
_SECONDS_A_TIMING = 2e-4
_ONES = np.ones(64, np.float32)
#: CPU features that decide which kernels XNNPACK picks.
_FEATURES = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512_vnni", "avx_vnni", "amx_int8", "asimd")
_FEATURES_ARM = ("asimddp", "i8mm", "sve", "fphp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A file's latency for one sample, beside the baseline's.

    Attributes:
        ratio: Candidate time over baseline time, below 1 if it is faster: the median over the pairs of a load, of which
            the geometric mean over the loads.
        spread: Interquartile range of the ratios of all pairs.
        latency_ms: Median time of one run of the candidate, in milliseconds.
        baseline_ms: Median time of one run of the baseline, in milliseconds.
        pairs: Number of pairs.
        repeats: Runs that each time of a pair is the median of.
    """

    ratio: float
    spread: float
    latency_ms: float
    baseline_ms: float
    pairs: int
    repeats: int


def measure_latency(candidate: bytes, baseline: bytes, *, threads: int) -> Latency:
    """Measure two files in turn, for one sample each.

    On a busy machine both slow down together, so the ratio within a pair stays while absolute times drift. Who goes
    first alternates, because the first one finds colder caches. Both are loaded several times, each first in half of
    them. Files that run in microseconds are run several times in a row, both equally often. Inputs are the same for
    both, and random: kernels do not depend on values. Takes about half a second, longer only if four pairs a load need
    it.

    Raises:
        MeasurementFailed: A file cannot be run.
    """
    loads: list[np.ndarray] = []
    repeats = 0
    for load in range(_LOADS):
        runs = _load((candidate, baseline), first=load % 2, threads=threads)
        repeats = repeats or _repeats(runs)
        loads.append(_pairs(runs, repeats))
    times = np.concatenate(loads)
    low, high = np.percentile(times[:, 0] / times[:, 1], [25, 75])
    own, other = np.median(times, axis=0) * 1e3
    return Latency(
        ratio=float(np.exp(np.mean([np.log(np.median(each[:, 0] / each[:, 1])) for each in loads]))),
        spread=float(high - low),
        latency_ms=float(own),
        baseline_ms=float(other),
        pairs=len(times),
        repeats=repeats,
    )


def _load(files: tuple[bytes, bytes], *, first: int, threads: int) -> tuple[Any, Any]:
    """Return an interpreter of each file, of which one is made first; each has its own copy of the file's bytes."""
    runs: dict[int, Any] = {}
    for which in (first, 1 - first):
        runs[which] = _ready(bytes(bytearray(files[which])), threads)
    return runs[0], runs[1]


def _repeats(runs: tuple[Any, Any]) -> int:
    """Return how many runs make a timing that the clock can tell."""
    shortest = min(_seconds(run, 1) for _ in range(_WARM_UPS) for run in runs)
    return math.ceil(_SECONDS_A_TIMING / max(shortest, 1e-6))


def _pairs(runs: tuple[Any, Any], repeats: int) -> np.ndarray:
    """Return the seconds of runs of both files, made in turn; a row is a pair."""
    seconds: list[tuple[float, float]] = []
    stop = time.perf_counter() + _SECONDS
    while len(seconds) < _MOST_PAIRS and (len(seconds) < _LEAST_PAIRS or time.perf_counter() < stop):
        first = len(seconds) % 2
        pair = [0.0, 0.0]
        for which in (first, 1 - first):
            pair[which] = _seconds(runs[which], repeats)
        seconds.append((pair[0], pair[1]))
    return np.array(seconds)


def _seconds(run: Any, repeats: int) -> float:
    """Return the median time of a run, each from the same state of the processor.

    The median, because a thread that waits for a busy core makes one run a thousand times longer. And some AVX kernels
    (dynamic int8 FullyConnected in LiteRT 2.3) return without clearing the upper halves of the vector registers; SSE
    code (the LSTM kernel) then runs three times slower until somebody does, in whichever file comes next. A NumPy loop
    between the runs clears them, as nearly any program around a model does.
    """
    times = []
    for _ in range(repeats):
        np.add(_ONES, _ONES)
        start = time.perf_counter()
        run.invoke()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


def machine_facts(threads: int) -> dict[str, Any]:
    """Return what latency depends on: CPU model and features, the machine's cores, threads, and the load right now."""
    model, flags = _cpu()
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "features": [name for name in (*_FEATURES, *_FEATURES_ARM) if name in flags],
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _ready(model: bytes, threads: int) -> Any:
    """Return an interpreter with inputs set, warmed up."""
    interpreter = open_interpreter(model, threads=threads)
    allocate(interpreter)
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        if np.issubdtype(detail["dtype"], np.floating):
            values = generator.uniform(0, 1, detail["shape"])
        else:  # zero is valid for whatever integers mean: a row of an embedding, a pixel
            values = np.zeros(detail["shape"])
        interpreter.set_tensor(detail["index"], values.astype(detail["dtype"]))
    for _ in range(_WARM_UPS):
        run_once(interpreter)
    return interpreter


def _cpu() -> tuple[str, set[str]]:
    """Return the CPU's model name and flags where the system tells, as Linux does."""
    facts: dict[str, str] = {}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", set()
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip().lower(), value.strip())
    return facts.get("model name", ""), set((facts.get("flags") or facts.get("features") or "").split())
