"""Who trains the stages: the compiled engine, or tfmot's own flow where the engine cannot."""

import sys
from typing import Any

from paretune.objectives.engine.compiled import StatefulKernel
from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.keras_door import tf
from paretune.objectives.kernels.weights import LayerWeights
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.stages import AtWork, StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.stages import ReferenceStages

#: What Keras, tfmot and TensorFlow raise about a model that they cannot wrap or trace.
_UNFIT = (StatefulKernel, AttributeError, TypeError, ValueError, NotImplementedError, tf.errors.InvalidArgumentError)


class EngineOrReference:
    """Implements :class:`paretune.objectives.pipeline.stages.StageRunner`.

    Args:
        model: The working copy of the user's model.
        data: What to train on.
        at_work: Entered around whatever keeps the processor busy.
        engine: ``compiled``, or ``reference`` for tfmot's own flow from the start.

    Attributes:
        fallback: Why the engine is not used, one line; empty while it is.
    """

    def __init__(self, model: Any, data: TrainingData, at_work: AtWork, *, engine: str) -> None:
        self._reference = ReferenceStages(model, data)
        self._compiled = CompiledStages(model, data, at_work=at_work)
        self._at_work = at_work
        self.fallback = "" if engine == "compiled" else "the experiment asks for the reference flow"

    def run(self, task: StageTask, weights: LayerWeights, meter: Meter) -> LayerWeights:
        """Train a stage."""
        if not self.fallback:
            try:
                self._compiled.prepare(task)
            except _UNFIT as error:
                reason = next(iter(str(error).strip().splitlines()), "")
                self.fallback = f"stage '{task.stage}' cannot be compiled once: {type(error).__name__}: {reason}"
                print(f"Trained with tfmot's own flow, because {self.fallback}", file=sys.stderr)
            else:
                return self._compiled.run(task, weights, meter)
        with self._at_work():
            return self._reference.run(task, weights, meter)
