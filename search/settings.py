"""What a search is told: the problem, and which sampler looks for answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from paretune.search.feasibility import objectives_by_name
from paretune.search.stopping import StopRules
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.hyperspace import Hyperparameter
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import Variant, recipe_with, space_of
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import Policy
from paretune.spaces.policies.space import Space, SpaceSettings
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.objective import Constraint, Objective
from paretune.spaces.results.trial import Budget
from paretune.spaces.suggest import nearest

#: The name of Paretune's own sampler.
FUNNEL = "funnel"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """Who proposes policies.

    Attributes:
        name: ``funnel`` for Paretune's own; or one of Optuna's, by class name or a short form of it: ``tpe``,
            ``nsgaii``, ``random``, ``qmc``, ``grid``, ...
        arguments: Keyword arguments of the class, as plain values; what is left out keeps a good default.
    """

    name: str = "tpe"
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProblem:
    """Everything that a search is about, apart from who evaluates and where it is written down.

    Attributes:
        description: The model.
        space: Where to look.
        objectives: What to optimise, the task's metric first.
        constraints: Bounds on these or on any other objective of the model.
        budget: What may be spent in total, over all resumptions.
        recipe: How every candidate is trained.
        seed: Seeds the proposals and every training.
        sampler: Who proposes, once the reference policies are through.
        trial_seconds: Deadline of one trial, in seconds; ``None`` sets none.
        rungs: How much may be spent on a trial; ``full`` among them. With ``proxy``, policies that will hardly enlarge
            the front are refused untrained; with ``short``, doubtful ones are trained a little first.
        stop: What ends the search before its budget does.
        leaves: How many policies that need no further training are tried after each trained one.
        hyperspace: What is searched beside policies: hyperparameters of the model, and of the recipe.
        values: Of the hyperspace: this variant's.
        space_settings: What the space was built from, to build that of other models.
    """

    description: ModelDescription
    space: Space
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    budget: Budget = field(default_factory=Budget)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    trial_seconds: float | None = None
    rungs: tuple[Rung, ...] = (Rung.FULL,)
    stop: StopRules = field(default_factory=StopRules)
    leaves: int = 0
    hyperspace: tuple[Hyperparameter, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    space_settings: SpaceSettings = field(default_factory=SpaceSettings)

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ConfigurationError("A search needs at least one objective, got none.")
        measured = self.description.objectives
        for name in [
            *(objective.name for objective in self.objectives),
            *(bound.objective for bound in (*self.constraints, *self.stop.wished)),
        ]:
            if name not in measured:
                raise ConfigurationError(
                    f"'{name}' is not measured; what is measured is {', '.join(measured)}.{nearest(name, measured)}"
                )
        if self.trial_seconds is not None and not self.trial_seconds > 0:
            raise ConfigurationError(f"The deadline of a trial must be above 0 seconds, got {self.trial_seconds!r}.")
        if Rung.FULL not in self.rungs:
            raise ConfigurationError("The rungs of a search must include full: only its trials make the front.")
        if self.hyperspace and self.sampler.name != FUNNEL:
            raise ConfigurationError(
                f"`sampler` must be {FUNNEL} to search hyperparameters of the model or the recipe too, got "
                f"'{self.sampler.name}'. Use it, or name a model that is trained already."
            )
        if self.leaves < 0:
            raise ConfigurationError(f"`leaves` must be at least 0, got {self.leaves!r}.")

    @property
    def known_objectives(self) -> Mapping[str, Objective]:
        """Every objective that a constraint can name, by name."""
        return {**objectives_by_name(self.objectives), **self.description.objectives}

    @property
    def needed_values(self) -> tuple[str, ...]:
        """Names of the values that every complete trial must have: what is optimised, and what is bounded."""
        bounded = (constraint.objective for constraint in self.constraints)
        return tuple(dict.fromkeys([*(objective.name for objective in self.objectives), *bounded]))

    def candidate(self, policy: Policy) -> Candidate:
        """Return what a trial of ``policy`` evaluates."""
        return Candidate(
            architecture=self.description.architecture,
            recipe=self.recipe,
            policy=policy,
            seed=self.seed,
            hyperparameters=self.values,
        )

    def of_variant(self, variant: Variant) -> "SearchProblem":
        """Return the same problem about another variant.

        Raises:
            ConfigurationError: If nothing can be searched about its model.
        """
        recipe = recipe_with(self.recipe, variant.values)
        return replace(
            self,
            description=variant.description,
            space=space_of(variant.description, self.space_settings, recipe),
            recipe=recipe,
            values=variant.values,
        )
