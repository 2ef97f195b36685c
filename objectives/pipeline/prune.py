"""Stage 1: magnitude pruning to the sparsity of the policy."""

import math
from typing import Any

from paretune.objectives.keras_door import tfmot
from paretune.objectives.pipeline.copies import fresh_copy, wrap_layers
from paretune.objectives.pipeline.fitting import Meter, TrainingData, fit
from paretune.objectives.pipeline.one_shot import with_exact_zeros
from paretune.objectives.weights import LayerWeights, read_weights
from paretune.spaces.policy import Policy
from paretune.spaces.recipe import PruneRecipe


def prune(
    model: Any,
    weights: LayerWeights,
    policy: Policy,
    data: TrainingData,
    recipe: PruneRecipe,
    *,
    steps: int,
    seed: int,
    meter: Meter,
) -> LayerWeights:
    """Train with tfmot's magnitude pruning; layers without sparsity are trained along.

    Returns:
        The weights with exactly the zeros that each layer's sparsity asks for.

    Raises:
        Infeasible: The loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """

    def wrap(layer: Any) -> Any:
        sparsity = policy[layer.name].sparsity if layer.name in policy else 0.0
        if sparsity == 0:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=_schedule(recipe, sparsity, steps))

    wrapped = wrap_layers(fresh_copy(model, weights), wrap)
    # The callback sets the step before each batch and masks the weights once more at the end of the epoch.
    update = tfmot.sparsity.keras.UpdatePruningStep()
    fit(wrapped, data, recipe, steps=steps, seed=seed, meter=meter, stage="prune", callbacks=[update])
    return with_exact_zeros(model, read_weights(tfmot.sparsity.keras.strip_pruning(wrapped)), policy)


def _schedule(recipe: PruneRecipe, sparsity: float, steps: int) -> Any:
    begin, target = math.floor(recipe.begin * steps), math.floor(recipe.end * steps)
    # tfmot looks at a mask only at steps begin, begin + frequency, ...: the ramp must end on one of them.
    frequency = max(1, min(recipe.frequency, target - begin))
    end = begin + (target - begin) // frequency * frequency
    if recipe.pruning_schedule == "constant" or end == begin:
        return tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=begin, frequency=frequency)
    return tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0, final_sparsity=sparsity, begin_step=begin, end_step=end, frequency=frequency
    )
