"""How far a metric would move with other samples: intervals by the bootstrap, of one file and between two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

#: Resamples of the rows that a metric is computed on, and the fewest that still give an interval.
RESAMPLES = 1000
FEWEST_RESAMPLES = 200
#: Share of the resamples that an interval holds.
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """From the lowest to the highest value, both included."""

    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Return whether a value lies within."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """A file's metric on resamples of the rows, drawn with replacement.

    The same split gives every file the same resamples, in the same order: the n-th value of one file belongs with the
    n-th value of another.

    Attributes:
        metric: Name of the metric.
        values: On each resample; none where the metric cannot be computed on them.
        reason: Why there are none, one sentence; empty where there are.
    """

    metric: str
    values: tuple[float, ...] = ()
    reason: str = ""

    @property
    def interval(self) -> Interval | None:
        """What the metric lies within for 95 of 100 resamples; ``None`` where there are none."""
        return _middle(self.values)


def with_interval(values: Mapping[str, float], resampled: Resampled) -> dict[str, float]:
    """Return values with the interval of the metric, as ``METRIC_low`` and ``METRIC_high``, where there is one."""
    interval = resampled.interval
    if interval is None:
        return dict(values)
    names = low_and_high(resampled.metric)
    return {**values, **dict(zip(names, (interval.low, interval.high), strict=True))}


def low_and_high(metric: str) -> tuple[str, str]:
    """Return the names under which the interval of a metric stands among values."""
    return f"{metric}_low", f"{metric}_high"


def interval_in(values: Mapping[str, float], metric: str) -> Interval | None:
    """Return the interval of a metric that :func:`with_interval` has put among values; ``None`` if there is none."""
    low, high = low_and_high(metric)
    return Interval(values[low], values[high]) if low in values and high in values else None


def difference(one: Resampled, other: Resampled) -> Interval | None:
    """Return what the metric of ``one`` less that of ``other`` lies within, on the same resamples of the rows.

    Where it covers 0, the difference between the two files is noise: other samples could turn it round.

    Returns:
        ``None`` where either has no resamples.

    References:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13 (percentile intervals).
    """
    pairs = zip(one.values, other.values, strict=False)  # one that was slow to compute has the first of them only
    return _middle([mine - theirs for mine, theirs in pairs])


def _middle(values: Sequence[float]) -> Interval | None:
    if len(values) < 2:
        return None
    cuts = quantiles(values, n=round(2 / (1 - CONFIDENCE)), method="inclusive")
    return Interval(float(cuts[0]), float(cuts[-1]))
