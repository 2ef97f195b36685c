"""The collaborative pipeline: prune, cluster, quantization-aware training; each keeps what the one before achieved."""

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paretune.objectives.keras_door import keras
from paretune.objectives.pipeline.cluster import cluster, require_clusters_possible
from paretune.objectives.pipeline.fitting import Meter, TrainingData
from paretune.objectives.pipeline.one_shot import one_shot
from paretune.objectives.pipeline.prune import prune
from paretune.objectives.pipeline.quantize_aware import quantize_aware
from paretune.objectives.weights import LayerWeights
from paretune.spaces.recipe import Candidate, Limit, Rung, stages_of

_STAGES = {"prune": prune, "cluster": cluster, "quantize": quantize_aware}


@dataclass(frozen=True, slots=True)
class Trained:
    """What the pipeline made of a candidate.

    Attributes:
        weights: Float weights by layer name, with the zeros and clusters of the policy.
        training_steps: Optimizer steps spent.
        seconds: Wall seconds by stage.
    """

    weights: LayerWeights
    training_steps: int
    seconds: Mapping[str, float]


def train(
    model: Any, weights: LayerWeights, candidate: Candidate, rung: Rung, data: TrainingData, limit: Limit
) -> Trained:
    """Run the stages that the candidate's policy needs; ``model`` is only read.

    Args:
        model: The working copy of the user's model, for its architecture.
        weights: The trained weights to start from.
        candidate: What to train.
        rung: ``proxy`` imposes the policy without training.
        data: What to train on.
        limit: When to stop.

    Raises:
        Infeasible: The policy cannot be trained.
        LimitReached: The limit was spent first.
    """
    if rung is Rung.PROXY:
        return Trained(one_shot(model, weights, candidate.policy), 0, {})
    require_clusters_possible(candidate.policy)
    meter = Meter(limit)
    seconds: dict[str, float] = {}
    for stage in stages_of(candidate.policy):
        started = time.monotonic()
        recipe = getattr(candidate.recipe, stage)
        # Every stage starts from the same random state, whatever this process ran before.
        keras.backend.clear_session()
        keras.utils.set_random_seed(candidate.seed)
        weights = _STAGES[stage](
            model,
            weights,
            candidate.policy,
            data,
            recipe,
            steps=recipe.steps(data.samples, rung),
            seed=candidate.seed,
            meter=meter,
        )
        gc.collect()
        seconds[stage] = time.monotonic() - started
    return Trained(weights, meter.training_steps, seconds)
