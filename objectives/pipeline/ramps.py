"""When the prune stage looks at its masks, and how sparsity rises until it is reached."""

import math
from dataclasses import dataclass

from paretune.objectives.pipeline.stages import StageTask
from paretune.spaces.candidates.stage_recipes import PruneRecipe


@dataclass(frozen=True, slots=True)
class Ramp:
    """The steps of a pruning schedule.

    Attributes:
        begin: First step at which masks are updated.
        end: Step at which the target is reached; the last update.
        frequency: Steps between two updates.
        is_constant: Whether sparsity is at its target from ``begin`` on, and masks are updated until the stage ends.
    """

    begin: int
    end: int
    frequency: int
    is_constant: bool


def ramp_of(task: StageTask) -> Ramp:
    """Return the schedule of a prune stage, fitted to its number of steps."""
    recipe, steps = task.recipe, task.steps
    if not isinstance(recipe, PruneRecipe):
        raise TypeError(f"a prune stage needs a PruneRecipe, got {type(recipe).__name__}")
    begin, target = math.floor(recipe.begin * steps), math.floor(recipe.end * steps)
    # tfmot looks at a mask only at steps begin, begin + frequency, ...: the ramp must end on one of them.
    frequency = max(1, min(recipe.frequency, target - begin))
    end = begin + (target - begin) // frequency * frequency
    return Ramp(begin, end, frequency, recipe.pruning_schedule == "constant" or end == begin)
