"""Stage 0: train with channels removed."""

from typing import Any

from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.fitting import AfterEachStep, fit
from paretune.objectives.reference.hold import holder
from paretune.objectives.weights import LayerWeights, compressed_variables, read_weights


def structure(model: Any, weights: LayerWeights, task: StageTask, data: TrainingData, meter: Meter) -> LayerWeights:
    """Train with the zeros of the removed channels held.

    Returns:
        The weights, zero for all that makes or reads a removed channel.

    Raises:
        Infeasible: The loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """
    copy = fresh_copy(model, weights)
    held = [
        (variable, False, None)
        for name in sorted(task.narrowed)
        for variable in compressed_variables(copy.get_layer(name))
    ]
    fit(copy, data, task, meter, callbacks=[AfterEachStep(holder(held))])
    return read_weights(copy)
