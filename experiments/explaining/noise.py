"""Which points of a front differ from their neighbour by no more than other test samples could turn round."""

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.search.front import Front
from paretune.spaces.results.resampling import Interval, Resampled, difference


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The point of a front with the next smaller file.

    Attributes:
        number: Its trial.
        difference: What the larger file's metric less this one's lies within, on the same resamples of the test split.
    """

    number: int
    difference: Interval

    @property
    def is_noise(self) -> bool:
        """Whether the difference could be none."""
        return self.difference.covers(0.0)


def neighbours_of(front: Front, resamples: Mapping[int, Resampled]) -> dict[int, Neighbour]:
    """Compare each point of a front with the one before it, where both have been resampled; by trial number."""
    found = {}
    for smaller, trial in zip(front.trials, front.trials[1:], strict=False):
        if trial.number in resamples and smaller.number in resamples:
            interval = difference(resamples[trial.number], resamples[smaller.number])
            if interval is not None:
                found[trial.number] = Neighbour(smaller.number, interval)
    return found


def no_interval_because(front: Front, resamples: Mapping[int, Resampled]) -> str:
    """Return why points of a front have no interval of their metric, one sentence; empty where all have."""
    reasons = (resamples[trial.number].reason for trial in front.trials if trial.number in resamples)
    return next((reason for reason in reasons if reason), "")
