"""A stage of the collaborative pipeline: what it is asked to do, and who can run it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from paretune.objectives.kernels.weights import LayerWeights
from paretune.objectives.pipeline.meter import Meter
from paretune.spaces.candidates.stage_recipes import TENSOR, StageRecipe
from paretune.spaces.policies.decompositions import CHANNELS
from paretune.spaces.policies.policy import Policy

#: Entered around everything that keeps the processor busy.
AtWork = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTask:
    """One stage of one candidate.

    Attributes:
        stage: ``structure``, ``prune``, ``cluster`` or ``quantize``.
        policy: What is decided about every layer.
        recipe: Training settings of the stage; a ``PruneRecipe`` for ``prune``, a ``ClusterRecipe`` for ``cluster``.
        steps: Optimizer steps to take.
        seed: Seeds batch order and every random draw.
        narrowed: Layers of which some weights are zero because channels were removed.
        cluster_scope: What shares one set of clusters, here and in what the cluster stage has left.
        decomposition: How ranks split kernels, likewise.
    """

    stage: str
    policy: Policy
    recipe: StageRecipe
    steps: int
    seed: int
    narrowed: frozenset[str] = frozenset()
    cluster_scope: str = TENSOR
    decomposition: str = CHANNELS

    def keeps_zeros(self, layer: str) -> bool:
        """Return whether weights of a layer that are zero must stay so."""
        return layer in self.narrowed or (layer in self.policy and self.policy[layer].sparsity > 0)

    def rank(self, layer: str) -> int | None:
        """Return the rank that a layer's kernel must keep, or ``None``."""
        return self.policy[layer].rank if layer in self.policy else None


class StageRunner(Protocol):
    """Trains one stage after the other."""

    def run(self, task: StageTask, weights: LayerWeights, meter: Meter) -> LayerWeights:
        """Train a stage and return the weights with what its policy asks of them; ``weights`` are left as they are.

        The same task and weights give the same weights, whatever ran before.

        Raises:
            Infeasible: The policy cannot be built, or the loss became NaN or infinite.
            LimitReached: The meter's limit was spent first.
        """
