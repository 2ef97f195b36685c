"""Whether trials come out again as they did, and how far other seeds move them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import mean, stdev
from typing import Any

from paretune.experiments.explaining.trainings import Training
from paretune.search.front import find_front, values_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.measurement import Fidelity
from paretune.spaces.results.objective import OBSERVED, Constraint, Objective
from paretune.spaces.results.resampling import CONFIDENCE, Interval
from paretune.spaces.results.trial import Trial

#: How many new seeds tell the noise, where identical bytes cannot be expected.
SEEDS_FOR_NOISE = 3


@dataclass(frozen=True, slots=True)
class Expectation:
    """What training a trial again should give, said before it is done.

    Attributes:
        changed: What is not as it was in the search, such as ``numpy: 2.3.1 -> 2.4.6``; with nothing changed, the same
            bytes are expected, otherwise values within the noise of other seeds.
    """

    changed: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether the same bytes are expected."""
        return not self.changed

    @property
    def sentence(self) -> str:
        """The expectation, in words."""
        if self.is_exact:
            return "expected: the same bytes, because model, data, versions and machine are those of the search"
        return f"expected: values within the noise of other seeds; changed since the search: {'; '.join(self.changed)}"


class Verdict(StrEnum):
    """How a trial came out."""

    SAME_BYTES = "same bytes"
    WITHIN_NOISE = "within noise"
    OUTSIDE = "outside"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Spread:
    """A value over several trainings.

    Attributes:
        values: Of each.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return mean(self.values)

    @property
    def deviation(self) -> float:
        """Their standard deviation; 0 for a single one."""
        return stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def next_one(self) -> Interval:
        """What one more training should lie within, 95 times of 100, if they scatter normally.

        References:
            Hahn & Meeker (1991), Statistical Intervals, sec. 4.7 (prediction interval for one future observation).
        """
        count = len(self.values)
        if count < 2:
            return Interval(self.mean, self.mean)
        from scipy.special import stdtrit  # only reproducing needs it

        half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * self.deviation * math.sqrt(1 + 1 / count)
        return Interval(self.mean - half, self.mean + half)

    def to_document(self) -> dict[str, Any]:
        """Return plain data."""
        low, high = min(self.values), max(self.values)
        return {"mean": self.mean, "deviation": self.deviation, "low": low, "high": high, "values": list(self.values)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A trial trained again.

    Attributes:
        trial: As the ledger has it.
        again: With its own seed.
        others: With new seeds, those that did not fail.
        verdict: How it came out.
        spreads: Of the metric and the size, over its own seed and the new ones; empty without new seeds.
        on_front: With how many of the new seeds it stays on the front, all points trained with the same seed; ``None``
            unless the whole front was trained.
    """

    trial: Trial
    again: Training
    others: tuple[Training, ...]
    verdict: Verdict
    spreads: Mapping[str, Spread]
    on_front: int | None = None

    @property
    def is_as_expected(self) -> bool:
        """Whether it came out as it should."""
        return self.verdict in (Verdict.SAME_BYTES, Verdict.WITHIN_NOISE)


def reproduction_of(
    trial: Trial, again: Training, others: Sequence[Training], *, metric: str, sha256: str, expected: Expectation
) -> Reproduction:
    """Judge one trial.

    Args:
        trial: As the ledger has it.
        again: Trained with its own seed.
        others: Trained with new seeds.
        metric: The task's metric.
        sha256: Of the trial's file.
        expected: What was said before.
    """
    able = tuple(other for other in others if not other.failure)
    spreads = {}
    if able and not again.failure:
        spreads = {name: Spread(tuple(each.values[name] for each in (again, *able))) for name in (metric, "size_bytes")}
    return Reproduction(
        trial=trial,
        again=again,
        others=able,
        verdict=_verdict(trial, again, spreads, sha256, expected),
        spreads=spreads,
    )


def _verdict(
    trial: Trial, again: Training, spreads: Mapping[str, Spread], sha256: str, expected: Expectation
) -> Verdict:
    if again.failure:
        return Verdict.FAILED
    recorded = values_of(trial)
    # seconds and latency are observations, and not expected to repeat
    names = again.values.keys() & recorded.keys() - set(OBSERVED)
    if again.sha256 == sha256 and all(again.values[name] == recorded[name] for name in names):
        return Verdict.SAME_BYTES
    if expected.is_exact or not spreads:
        return Verdict.OUTSIDE
    is_within = all(spread.next_one.covers(recorded[name]) for name, spread in spreads.items())
    return Verdict.WITHIN_NOISE if is_within else Verdict.OUTSIDE


def with_front(
    found: Sequence[Reproduction],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    baseline: Trial,
    seeds: int,
    known: Mapping[str, Objective] | None = None,
) -> list[Reproduction]:
    """Count with how many of the new seeds each point stays on the front, beside the others of the same seed.

    Latency is that of the ledger: it depends on number formats alone, and measuring it again would only add noise.

    Args:
        found: Every point of the front.
        objectives: Of the run.
        constraints: Of the run.
        baseline: What constraints refer to.
        seeds: How many new seeds there were.
        known: Every objective that constraints may name.
    """
    stays = dict.fromkeys((each.trial.number for each in found), 0)
    for step in range(1, seeds + 1):
        trained = [
            _as_trained(each.trial, training)
            for each in found
            for training in each.others
            if training.seed == each.trial.candidate.seed + step
        ]
        for trial in find_front(trained, objectives, constraints, values_of(baseline), known).trials:
            stays[trial.number] += 1
    return [replace(each, on_front=stays[each.trial.number]) for each in found]


def _as_trained(trial: Trial, training: Training) -> Trial:
    if trial.measurement is None:
        raise ValueError(f"trial {trial.number} has no measurement")
    latency = {name: value for name, value in values_of(trial).items() if name in OBSERVED}
    fidelity = trial.measurement.fidelity
    if training.faults:
        faulty = replace(fidelity.layers[0], faults=training.faults)
        fidelity = Fidelity((faulty, *fidelity.layers[1:]))
    measurement = replace(trial.measurement, values={**training.values, **latency}, fidelity=fidelity)
    return replace(trial, measurement=measurement, rung=Rung.FULL)


def reproduction_document(found: Sequence[Reproduction], expected: Expectation, metric: str) -> dict[str, Any]:
    """Return reproductions for JSON.

    ::

        {"expected": "same bytes|within noise", "changed": [...], "metric": "accuracy", "as_expected": true,
         "trials": [{"trial", "seed", "verdict", "recorded": {...}, "again": {...}, "sha256", "failure", "seconds",
                     "spreads": {"accuracy": {"mean", "deviation", "low", "high", "values"}, "size_bytes": ...},
                     "seeds": [1, 2, 3], "on_front": 2}, ...]}
    """
    return {
        "expected": str(Verdict.SAME_BYTES if expected.is_exact else Verdict.WITHIN_NOISE),
        "changed": list(expected.changed),
        "metric": metric,
        "as_expected": all(each.is_as_expected for each in found),
        "trials": [
            {
                "trial": each.trial.number,
                "seed": each.trial.candidate.seed,
                "verdict": str(each.verdict),
                "recorded": dict(values_of(each.trial)),
                "again": dict(each.again.values),
                "sha256": each.again.sha256,
                "failure": each.again.failure,
                "seconds": each.again.seconds,
                "spreads": {name: spread.to_document() for name, spread in each.spreads.items()},
                "seeds": [other.seed for other in each.others],
                "on_front": each.on_front,
            }
            for each in found
        ],
    }
