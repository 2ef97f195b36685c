"""The collaborative pipeline: prune, cluster, quantization-aware training; each keeps what the one before achieved."""

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paretune.objectives.keras_door import keras
from paretune.objectives.pipeline.cluster import cluster
from paretune.objectives.pipeline.copies import LayerWeights
from paretune.objectives.pipeline.fitting import Meter, TrainingData, stage_steps
from paretune.objectives.pipeline.one_shot import one_shot
from paretune.objectives.pipeline.prune import prune
from paretune.objectives.pipeline.quantize_aware import quantize_aware
from paretune.spaces.policy import Policy, Quantization
from paretune.spaces.recipe import Candidate, Limit, Recipe, Rung

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


def stages_of(policy: Policy) -> tuple[str, ...]:
    """Return the stages that a policy needs, in order."""
    decided = policy.values()
    needed = {
        "prune": any(layer.sparsity > 0 for layer in decided),
        "cluster": any(layer.clusters is not None for layer in decided),
        "quantize": any(layer.quantization is Quantization.INT8_QAT for layer in decided),
    }
    return tuple(stage for stage, is_needed in needed.items() if is_needed)


def training_steps_of(policy: Policy, recipe: Recipe, rung: Rung, samples: int) -> int:
    """Return the optimizer steps that a trial of ``policy`` takes."""
    if rung is Rung.PROXY:
        return 0
    return sum(stage_steps(getattr(recipe, stage), samples, rung.epochs_share) for stage in stages_of(policy))


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
            steps=stage_steps(recipe, data.samples, rung.epochs_share),
            seed=candidate.seed,
            meter=meter,
        )
        gc.collect()
        seconds[stage] = time.monotonic() - started
    return Trained(weights, meter.training_steps, seconds)
