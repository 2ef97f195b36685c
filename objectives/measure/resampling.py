"""A metric on resamples of the rows: how far it would move with other samples."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from paretune.spaces.errors import MeasurementFailed
from paretune.spaces.results.resampling import FEWEST_RESAMPLES, RESAMPLES, Resampled

#: What the resamples of one file may take, in seconds of the processor: a busy machine must not decide how many there
#: are.
_SECONDS = 2.0
_SEED = 0
#: Row numbers drawn at a time; how many it is does not change what is drawn.
_MOST_NUMBERS = 500_000


def resample(metric: str, score: Callable[[NDArray[np.int64]], float], rows: int) -> Resampled:
    """Compute a metric on resamples of the rows, drawn with replacement.

    There are :data:`RESAMPLES` of them, or the first :data:`FEWEST_RESAMPLES` where the metric is slow. They depend on
    ``rows`` alone, so that two files can be compared on the same ones. None where even those would take too long, or
    where the metric fails on one of them.

    Args:
        metric: Name of the metric.
        score: Returns the metric of chosen rows, some of them several times.
        rows: How many there are to choose from.
    """
    if rows < 2:
        return Resampled(metric=metric, reason=f"There must be at least 2 samples, there is {rows}.")
    from scipy.stats import bootstrap  # takes a second to import

    try:
        seconds = min(_seconds_of(score, rows) for _ in range(2))  # the first call may be warming up
        count = RESAMPLES if seconds * RESAMPLES <= _SECONDS else FEWEST_RESAMPLES
        if seconds * count > _SECONDS:
            reason = f"{metric} takes {1000 * seconds:.0f} ms on {rows:,} samples, too long for {count} resamples."
            return Resampled(metric=metric, reason=reason)
        found = bootstrap(
            (np.arange(rows),),
            score,
            n_resamples=count,
            batch=max(1, _MOST_NUMBERS // rows),
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(_SEED),
        )
    except MeasurementFailed as error:
        return Resampled(metric=metric, reason=f"On a resample of the samples: {error}")
    return Resampled(metric=metric, values=tuple(found.bootstrap_distribution.tolist()))


def _seconds_of(score: Callable[[NDArray[np.int64]], float], rows: int) -> float:
    started = time.process_time()
    score(np.arange(rows))
    return time.process_time() - started
