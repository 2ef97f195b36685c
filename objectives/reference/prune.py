"""Stage 1: magnitude pruning to the sparsity of the policy."""

from typing import Any

from paretune.objectives.keras_door import tfmot
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.one_shot import with_exact_zeros
from paretune.objectives.pipeline.ramps import Ramp, ramp_of
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.fitting import AfterEachStep, fit
from paretune.objectives.reference.hold import Held, holder
from paretune.objectives.reference.wrapping import wrap_layers
from paretune.objectives.weights import LayerWeights, compressed_variables, read_weights


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

    held: list[Held] = []

    def wrap(layer: Any) -> Any:
        if layer.name in task.narrowed or task.rank(layer.name) is not None:
            zeros, rank = layer.name in task.narrowed, task.rank(layer.name)
            held.extend(Held(variable=each, zeros=zeros, rank=rank) for each in compressed_variables(layer))
        sparsity = policy[layer.name].sparsity if layer.name in policy else 0.0
        if sparsity == 0:
            return layer
        dead = _dead_share(layer) if layer.name in task.narrowed else 0.0
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=_schedule(ramp, sparsity, dead))

    wrapped = wrap_layers(fresh_copy(model, weights), wrap)
    hold = holder(held)
    # The callback sets the step before each batch and masks the weights once more at the end of the epoch.
    update = tfmot.sparsity.keras.UpdatePruningStep()
    fit(wrapped, data, task, meter, callbacks=[update, AfterEachStep(hold)])
    pruned = read_weights(tfmot.sparsity.keras.strip_pruning(wrapped))
    return with_exact_zeros(model, pruned, policy, weights, task.narrowed)


def _dead_share(layer: Any) -> float:
    """Return the share of the weights that is zero, because it belongs to removed channels."""
    arrays = [variable.numpy() for variable in compressed_variables(layer)]
    return sum(int((array == 0).sum()) for array in arrays) / sum(array.size for array in arrays)


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
