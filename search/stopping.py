"""When a search has found enough: a wished-for point, or a front that has stopped growing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paretune.search.feasibility import is_feasible
from paretune.search.front import Front, values_of
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.objective import Constraint, Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRules:
    """What ends a search before its budget does.

    Attributes:
        wished: Bounds; a trial on the front that meets all of them ends the search. None ends none.
        flat_trials: How many trained trials in a row may gain next to nothing; ``None`` allows any number.
        flat_gain: What counts as next to nothing: the share by which the hypervolume grew over these trials.
    """

    wished: tuple[Constraint, ...] = ()
    flat_trials: int | None = None
    flat_gain: float = 0.001

    def __post_init__(self) -> None:
        if self.flat_trials is not None and self.flat_trials < 1:
            raise ConfigurationError(f"`flat_trials` must be at least 1, got {self.flat_trials!r}.")
        if not self.flat_gain >= 0:
            raise ConfigurationError(f"`flat_gain` must be at least 0, got {self.flat_gain!r}.")

    def reached(self, front: Front, baseline: Mapping[str, float], known: Mapping[str, Objective]) -> str:
        """Return which trial is what was wished for, for people, or an empty string."""
        if not self.wished:
            return ""
        found = [trial for trial in front.trials if is_feasible(values_of(trial), self.wished, baseline, known)]
        if not found:
            return ""
        wishes = ", ".join(str(wish) for wish in self.wished)
        return f"trial {found[0].number} is what was wished for ({wishes})"

    def flat(self, volumes: Sequence[float]) -> str:
        """Return how flat the hypervolume has become, for people, or an empty string while it grows.

        Args:
            volumes: Hypervolume after each trained trial, in order.
        """
        if self.flat_trials is None or len(volumes) <= self.flat_trials:
            return ""
        before, now = volumes[-1 - self.flat_trials], volumes[-1]
        if before <= 0 or now / before - 1 > self.flat_gain:
            return ""
        return (
            f"the front has stopped growing: its hypervolume gained {100 * (now / before - 1):.2f} % "
            f"in the last {self.flat_trials} trained trials"
        )
