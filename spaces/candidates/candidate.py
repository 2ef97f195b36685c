"""What a trial evaluates, and what it may spend."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from paretune.spaces.candidates.recipe import Recipe, stage_recipe, stage_share, stages_of
from paretune.spaces.policies.policy import Policy, digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a trial evaluates.

    Attributes:
        architecture: Digest of the base model's architecture and weights.
        recipe: How it is trained.
        policy: What is decided about every layer, resolved.
        seed: Seeds batch order and every random draw of the training.
        hyperparameters: Values of what is searched beside the policy: those that the base model was built with, and
            those that are in the recipe. They tell where the two above come from.
    """

    architecture: str
    recipe: Recipe
    policy: Policy
    seed: int = 0
    hyperparameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def base(self) -> tuple[str, Recipe]:
        """The model and the recipe that its policy is decided for."""
        return self.architecture, self.recipe

    @property
    def is_base_model(self) -> bool:
        """Whether it is a model that was built for the search, as it is before anything is compressed."""
        return bool(self.hyperparameters) and self.policy.is_untouched

    @property
    def digest(self) -> str:
        """SHA-256 of everything above, as 64 hexadecimal digits."""
        return digest_of([self.architecture, self.recipe.to_document(), self.policy.digest, self.seed])

    @property
    def stem_digest(self) -> str:
        """SHA-256 of what decides the trained weights: candidates of equal stems are a family, trained once.

        They differ only in number formats that no stage trains for.
        """
        policy = self.policy
        stages = {
            stage: [asdict(stage_recipe(stage, policy, self.recipe)), stage_share(stage, policy)]
            for stage in stages_of(policy)
        }
        return digest_of([self.architecture, stages, self.seed])


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one evaluation may spend before it must stop with ``LimitReached``; ``None`` means no limit.

    Attributes:
        seconds: Wall time from the start of the evaluation.
        training_steps: Optimizer steps.
    """

    seconds: float | None = None
    training_steps: int | None = None
