"""Stage 1: magnitude pruning to the sparsity of the policy."""

from typing import Any

from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude

from paretune.objectives.keras_door import tf, tfmot
from paretune.objectives.kernels.tfmot_support import prunable
from paretune.objectives.kernels.weights import LayerWeights, compressed_variables, read_weights
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.one_shot import with_exact_zeros
from paretune.objectives.pipeline.pattern_masks import PatternMasks
from paretune.objectives.pipeline.ramps import Ramp, ramp_of
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.fitting import AfterEachStep, fit
from paretune.objectives.reference.hold import Held, holder
from paretune.objectives.reference.wrapping import wrap_layers
from paretune.spaces.candidates.stage_recipes import PruneRecipe
from paretune.spaces.policies.patterns import UNSTRUCTURED


def prune(model: Any, weights: LayerWeights, task: StageTask, data: TrainingData, meter: Meter) -> LayerWeights:
    """Train with tfmot's magnitude pruning; layers without sparsity are trained along.

    Returns:
        The weights with exactly the zeros that each layer's sparsity asks for.

    Raises:
        Infeasible: The loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """
    policy = task.policy
    ramp = ramp_of(task)
    pattern = task.recipe.pattern if isinstance(task.recipe, PruneRecipe) else UNSTRUCTURED

    held: list[Held] = []

    def wrap(layer: Any) -> Any:
        if layer.name in task.narrowed or task.rank(layer.name) is not None:
            held.extend(
                Held(
                    variable=each,
                    zeros=layer.name in task.narrowed,
                    rank=task.rank(layer.name),
                    decomposition=task.decomposition,
                )
                for each in compressed_variables(layer)
            )
        sparsity = policy[layer.name].sparsity if layer.name in policy else 0.0
        if sparsity == 0:
            return layer
        is_narrow = layer.name in task.narrowed
        schedule = _schedule(ramp, sparsity, _dead_share(layer) if is_narrow else 0.0)
        layer = prunable(layer)
        if pattern != UNSTRUCTURED and not is_narrow:
            return _Patterned(layer, schedule, sparsity, pattern)
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    wrapped = wrap_layers(fresh_copy(model, weights), wrap)
    hold = holder(held)
    # The callback sets the step before each batch and masks the weights once more at the end of the epoch.
    update = tfmot.sparsity.keras.UpdatePruningStep()
    fit(wrapped, data, task, meter, callbacks=[update, AfterEachStep(hold)])
    trained = read_weights(tfmot.sparsity.keras.strip_pruning(wrapped))
    return with_exact_zeros(model, trained, policy, pattern, start=weights, narrowed=task.narrowed)


def _dead_share(layer: Any) -> float:
    """Return the share of the weights that is zero, because it belongs to removed channels."""
    arrays = [variable.numpy() for variable in compressed_variables(layer)]
    return float(sum((array == 0).sum() for array in arrays) / sum(array.size for array in arrays))


def _schedule(ramp: Ramp, sparsity: float, dead: float) -> Any:
    """Return tfmot's schedule to a sparsity of the weights that are not dead: it counts all of them."""
    sparsity = dead + (1 - dead) * sparsity
    if ramp.is_constant:
        return tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=ramp.begin, frequency=ramp.frequency)
    return tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=dead,
        final_sparsity=sparsity,
        begin_step=ramp.begin,
        end_step=ramp.end,
        frequency=ramp.frequency,
    )


class _Patterned(PruneLowMagnitude):  # type: ignore[misc]  # tfmot is untyped
    """tfmot's wrapper with masks of a sparsity pattern, for kernels of any rank."""

    def __init__(self, layer: Any, schedule: Any, sparsity: float, pattern: str) -> None:
        super().__init__(layer, pruning_schedule=schedule)
        self._sparsity = sparsity
        self._pattern = pattern

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.pruning_obj = PatternMasks(
            layer=self.layer,
            pattern=self._pattern,
            target=lambda: tf.constant(self._sparsity, tf.float32),
            training_step_fn=lambda: self.pruning_step,
            pruning_vars=self.pruning_vars,
            pruning_schedule=self.pruning_schedule,
            block_size=self.block_size,
            block_pooling_type=self.block_pooling_type,
        )
