"""Accuracy of both flows on the same policies and seeds; seeds alone show how much of a difference is noise."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import CASES
from scipy.stats import t
from trial_runs import FlowRun, apart, call_apart, run_flow

_ANOTHER_SEED = 1000
#: Reference trials that one process runs: each of them takes some memory that it does not give back.
_TRIALS_A_PROCESS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Paired differences of accuracy.

    Attributes:
        pairs: How many.
        mean: Their mean.
        half_width: Half of the mean's 95 % interval (Student's t).
        deviation: Standard deviation of a single difference.
    """

    pairs: int
    mean: float
    half_width: float
    deviation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Accuracy of the compiled engine against the reference flow.

    Attributes:
        model: Name of the case.
        compiled: Mean accuracy of the engine.
        reference: Mean accuracy of the reference flow.
        flows: Engine minus reference flow, same policies and seeds.
        seeds: Engine minus engine with another seed, same policies: the noise of training.
        most_size_difference: Largest difference of deflated bytes between flows, relative to the reference's.
    """

    model: str
    compiled: float
    reference: float
    flows: Difference
    seeds: Difference
    most_size_difference: float


def compare_accuracy(case: str, scratch: Path, *, pairs: int) -> Comparison:
    """Run the first policies of the seeded sequence in both flows, and in the engine with other seeds."""
    compiled, reference = (CASES[case].settings(scratch, engine=engine) for engine in ("compiled", "reference"))
    numbers = range(pairs)
    ours = call_apart(run_flow, case, compiled, numbers, threads=1)  # first: it trains and keeps the model
    with apart(threads=1, workers=os.cpu_count() or 1) as pool:
        parts = [
            pool.submit(run_flow, case, reference, numbers[start : start + _TRIALS_A_PROCESS])
            for start in range(0, pairs, _TRIALS_A_PROCESS)
        ]
        again = pool.submit(run_flow, case, compiled, numbers, _ANOTHER_SEED)
        theirs, other = _by_number([part.result() for part in parts]), _by_number([again.result()])
    own = _by_number([ours])
    both = sorted(set(own) & set(theirs) & set(other))
    accuracy = {
        name: np.array([run[number][0] for number in both])
        for name, run in (("ours", own), ("theirs", theirs), ("other", other))
    }
    return Comparison(
        model=case,
        compiled=float(accuracy["ours"].mean()),
        reference=float(accuracy["theirs"].mean()),
        flows=difference_of(accuracy["ours"] - accuracy["theirs"]),
        seeds=difference_of(accuracy["ours"] - accuracy["other"]),
        most_size_difference=max(abs(own[number][1] / theirs[number][1] - 1) for number in both),
    )


def difference_of(differences: np.ndarray) -> Difference:
    """Return the mean of paired differences, shape (pairs,) of at least 2, with its 95 % interval."""
    pairs = len(differences)
    deviation = float(differences.std(ddof=1))
    return Difference(
        pairs=pairs,
        mean=float(differences.mean()),
        half_width=float(t.ppf(0.975, pairs - 1)) * deviation / pairs**0.5,
        deviation=deviation,
    )


def _by_number(runs: Sequence[FlowRun]) -> dict[int, tuple[float, float]]:
    """Return accuracy and deflated bytes by number of the policy."""
    return {trial.number: (trial.accuracy, trial.size_bytes) for run in runs for trial in run.trials}
