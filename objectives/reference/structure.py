"""Stage 0: train with channels removed and ranks lowered."""

from typing import Any

from paretune.objectives.kernels.weights import LayerWeights, compressed_variables, read_weights
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.fitting import AfterEachStep, fit
from paretune.objectives.reference.hold import Held, holder


def structure(model: Any, weights: LayerWeights, task: StageTask, data: TrainingData, meter: Meter) -> LayerWeights:
    """Train with the zeros of the removed channels and the ranks of kernels held.

    Returns:
        The weights, zero for all that makes or reads a removed channel.

    Raises:
        Infeasible: The loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """
    copy = fresh_copy(model, weights)
    held = [
        Held(
            variable=variable,
            zeros=task.keeps_zeros(layer.name),
            rank=task.rank(layer.name),
            decomposition=task.decomposition,
        )
        for layer in copy.layers
        for variable in compressed_variables(layer)
        if layer.name in task.narrowed or task.rank(layer.name) is not None
    ]
    fit(copy, data, task, meter, callbacks=[AfterEachStep(holder(held))])
    return read_weights(copy)
