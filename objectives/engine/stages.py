"""Run stages in graphs that are traced once per model; each is built when a candidate first needs it."""

import contextlib
from typing import Any

from paretune.objectives.engine.cluster_graph import ClusterGraph
from paretune.objectives.engine.compiled import CompiledStage
from paretune.objectives.engine.graph import StageGraph
from paretune.objectives.engine.numerics import FAST, Numerics
from paretune.objectives.engine.prune_graph import PruneGraph
from paretune.objectives.engine.quantize_graph import QuantizeGraph
from paretune.objectives.engine.structure_graph import StructureGraph
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import LayerWeights
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.one_shot import with_exact_zeros
from paretune.objectives.pipeline.stages import AtWork, StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.spaces.candidates.stage_recipes import PruneRecipe, StageRecipe

#: Places for centroids that every graph has; a policy with more clusters builds a larger one.
_FEWEST_PLACES = 64


class CompiledStages:
    """Implements :class:`paretune.objectives.pipeline.stages.StageRunner` with graphs that all candidates share.

    Args:
        model: The working copy of the user's model, for its architecture; it is only read.
        data: What to train on.
        numerics: How to compute.
        at_work: Entered around every fraction of a second of training.
    """

    def __init__(
        self, model: Any, data: TrainingData, *, numerics: Numerics = FAST, at_work: AtWork = contextlib.nullcontext
    ) -> None:
        # Dropout must draw from variables: kernels with a state of their own cannot be set back.
        keras.backend.experimental.enable_tf_random_generator()
        self._model = model
        self._data = data
        self._numerics = numerics
        self._at_work = at_work
        self._built: dict[tuple[str, ...], CompiledStage] = {}
        self._places = _FEWEST_PLACES

    def run(self, task: StageTask, weights: LayerWeights, meter: Meter) -> LayerWeights:
        """Train a stage, in the graph that there is for it."""
        trained = self.prepare(task).run(task, weights, meter, self._at_work)
        if not isinstance(task.recipe, PruneRecipe):
            return trained
        return with_exact_zeros(
            self._model, trained, task.policy, task.recipe.pattern, start=weights, narrowed=task.narrowed
        )

    def prepare(self, task: StageTask) -> CompiledStage:
        """Build and trace the graph that a task needs, unless it is there.

        Raises:
            StatefulKernel: The model draws random numbers in a way that cannot be repeated.
            Exception: Whatever Keras, tfmot or TensorFlow say of a model that they cannot wrap or trace.
        """
        most = max((decided.clusters or 0 for decided in task.policy.values()), default=0)
        if most > self._places:
            self._places = 1 << (most - 1).bit_length()
            self._built = {key: stage for key, stage in self._built.items() if key[0] in ("structure", "prune")}
        # what shares a set of clusters, and how ranks split kernels, is part of the graph; where clusters start is not
        scope = task.cluster_scope if task.stage in ("cluster", "quantize") else ""
        key = (task.stage, scope, task.decomposition, *self._traced_for(task.recipe))
        if key not in self._built:
            with self._at_work():
                self._built[key] = CompiledStage(self._graph(task), self._data, task.recipe)
        return self._built[key]

    def _traced_for(self, recipe: StageRecipe) -> tuple[str, ...]:
        """Return what of a recipe is part of the graph of its stage."""
        arguments = sorted(recipe.optimizer_arguments.items())
        pattern = (recipe.pattern,) if isinstance(recipe, PruneRecipe) else ()
        is_taught = "taught" if recipe.distillation > 0 else ""
        batch_size = recipe.batch_size_for(self._data.samples)
        return repr((recipe.optimizer.lower(), arguments)), str(batch_size), is_taught, *pattern

    def _graph(self, task: StageTask) -> StageGraph:
        if task.stage == "structure":
            return StructureGraph(self._model, task.decomposition)
        if isinstance(task.recipe, PruneRecipe):
            return PruneGraph(self._model, self._numerics, task.recipe.pattern, task.decomposition)
        if task.stage == "cluster":
            return ClusterGraph(self._model, self._numerics, self._places, task.cluster_scope, task.decomposition)
        return QuantizeGraph(self._model, self._numerics, self._places, task.cluster_scope, task.decomposition)
