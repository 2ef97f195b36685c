"""Run stages as tfmot does: the check and the fallback of :mod:`paretune.objectives.engine`."""

import gc
from typing import Any

from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import LayerWeights
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.cluster import cluster
from paretune.objectives.reference.prune import prune
from paretune.objectives.reference.quantize_aware import quantize_aware
from paretune.objectives.reference.structure import structure

_STAGES = {"structure": structure, "prune": prune, "cluster": cluster, "quantize": quantize_aware}


class ReferenceStages:
    """Implements :class:`paretune.objectives.pipeline.stages.StageRunner` with a new wrapped model for every stage.

    Args:
        model: The working copy of the user's model, for its architecture; it is only read.
        data: What to train on.
    """

    def __init__(self, model: Any, data: TrainingData) -> None:
        self._model = model
        self._data = data

    def run(self, task: StageTask, weights: LayerWeights, meter: Meter) -> LayerWeights:
        """Wrap, trace and train a stage."""
        # Every stage starts from the same random state, whatever this process ran before.
        keras.backend.clear_session()
        keras.utils.set_random_seed(task.seed)
        trained = _STAGES[task.stage](self._model, weights, task, self._data, meter)
        gc.collect()
        return trained
