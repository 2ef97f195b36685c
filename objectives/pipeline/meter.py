"""What an evaluation has spent so far, held against its limit."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.errors import Infeasible, LimitReached


@dataclass(slots=True)
class Meter:
    """What one evaluation has spent so far, held against its limit.

    Attributes:
        limit: When to stop.
        training_steps: Optimizer steps taken.
        step_seconds: Wall seconds that these steps took, without anything around them.
        started: Monotonic seconds at the start.
    """

    limit: Limit
    training_steps: int = 0
    step_seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise once the limit is spent.

        Raises:
            LimitReached: Says which limit.
        """
        seconds = self.limit.seconds
        if seconds is not None and time.monotonic() - self.started > seconds:
            raise LimitReached(f"took longer than {seconds:.0f} s ({self.training_steps} training steps done)")
        if self.steps_left <= 0:
            raise LimitReached(f"needed more than {self.limit.training_steps} training steps")

    @property
    def steps_left(self) -> float:
        """Optimizer steps that the limit still allows."""
        steps = self.limit.training_steps
        return math.inf if steps is None else steps - self.training_steps

    def count(self, losses: Iterable[float], *, stage: str, step: int) -> None:
        """Count steps, and refuse to go on with a loss that is no number.

        Args:
            losses: The loss of each step.
            stage: The stage they belong to.
            step: How many steps of the stage came before.

        Raises:
            Infeasible: A loss is NaN or infinite.
        """
        for number, loss in enumerate(losses, start=step + 1):
            self.training_steps += 1
            if not math.isfinite(loss):
                raise Infeasible(f"the loss became {loss} in stage '{stage}' at step {number}; lower its learning_rate")
