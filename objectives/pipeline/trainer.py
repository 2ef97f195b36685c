"""The collaborative pipeline: structure, prune, cluster, quantize; each stage keeps what the one before achieved."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.channels.remover import ChannelRemover
from paretune.objectives.kernels.weights import LayerWeights
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.one_shot import one_shot
from paretune.objectives.pipeline.stage_tree import StageTree
from paretune.objectives.pipeline.stages import StageRunner, StageTask
from paretune.objectives.ranks.lowering import with_low_ranks
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import cluster_scope_of, decomposition_in, stage_recipe, stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import Infeasible
from paretune.spaces.policies.normal_form import FEWEST_PRUNED_CLUSTERS
from paretune.spaces.policies.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What the pipeline made of a candidate.

    Attributes:
        weights: Float weights by layer name, with the ranks, zeros and clusters of the policy; what makes or reads a
            removed channel is zero.
        kept: Which output channels stay, for every layer that loses some; shape (channels,).
        training_steps: Optimizer steps spent.
        step_seconds: Wall seconds of these steps alone.
        seconds: Wall seconds by stage.
        reused: Stages whose weights were known already, so that nothing was trained.
    """

    weights: LayerWeights
    kept: Mapping[str, NDArray[np.bool_]]
    training_steps: int = 0
    step_seconds: float = 0.0
    seconds: Mapping[str, float]
    reused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Trains candidates of one model.

    Attributes:
        model: The working copy of the user's model, for its architecture; it is only read.
        weights: The trained weights to start from.
        samples: Number of training samples.
        remover: Removes channels.
        runner: Trains a stage.
        tree: Knows the stages that have been trained before.
    """

    model: Any
    weights: LayerWeights
    samples: int
    remover: ChannelRemover
    runner: StageRunner
    tree: StageTree

    def train(self, candidate: Candidate, rung: Rung, limit: Limit) -> Trained:
        """Run the stages that the candidate's policy needs, from the first that is not known yet.

        Args:
            candidate: What to train.
            rung: ``proxy`` imposes the policy without training.
            limit: When to stop.

        Raises:
            Infeasible: The policy cannot be trained.
            LimitReached: The limit was spent first.
        """
        removal = self.remover.removal(candidate.policy, candidate.recipe.structure.criterion)
        narrowed = removal.narrowed
        decomposition = decomposition_in(candidate.policy, candidate.recipe)
        start = with_low_ranks(self.model, removal.without(self.weights), candidate.policy, decomposition)
        if rung is Rung.PROXY:
            imposed = one_shot(
                self.model,
                start,
                candidate.policy,
                pattern=candidate.recipe.prune.pattern,
                cluster_scope=cluster_scope_of(candidate.policy, candidate.recipe),
                narrowed=narrowed,
            )
            return Trained(weights=imposed, kept=removal.kept(), seconds={})
        _require_clusters_possible(candidate.policy)
        meter = Meter(limit)
        seconds: dict[str, float] = {}
        tasks = [self._task(stage, candidate, rung, narrowed) for stage in stages_of(candidate.policy)]
        branch = self.tree.branch(tasks)
        known, found = branch.deepest_known()
        weights = start if found is None else found
        for number, task in enumerate(tasks[known:], start=known):
            started = time.monotonic()
            weights = self.runner.run(task, weights, meter)
            branch.keep(number, weights)
            seconds[task.stage] = time.monotonic() - started
        return Trained(
            weights=weights,
            kept=removal.kept(),
            training_steps=meter.training_steps,
            step_seconds=meter.step_seconds,
            seconds=seconds,
            reused=tuple(task.stage for task in tasks[:known]),
        )

    def _task(self, stage: str, candidate: Candidate, rung: Rung, narrowed: frozenset[str]) -> StageTask:
        recipe = stage_recipe(stage, candidate.policy, candidate.recipe)
        return StageTask(
            stage=stage,
            policy=candidate.policy,
            recipe=recipe,
            steps=recipe.steps(self.samples, rung),
            seed=candidate.seed,
            narrowed=narrowed,
            cluster_scope=cluster_scope_of(candidate.policy, candidate.recipe),
            decomposition=decomposition_in(candidate.policy, candidate.recipe),
        )


def _require_clusters_possible(policy: Policy) -> None:
    """Raise before anything is trained where the cluster stage could not do what a policy asks.

    Raises:
        Infeasible: A pruned layer is to keep fewer than 3 values.
    """
    for name, decided in policy.items():
        if decided.sparsity > 0 and decided.clusters is not None and decided.clusters < FEWEST_PRUNED_CLUSTERS:
            raise Infeasible(
                f"`clusters` of a pruned layer must be at least {FEWEST_PRUNED_CLUSTERS} (zero is one), got "
                f"{decided.clusters} (layer '{name}')"
            )
