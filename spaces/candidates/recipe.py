"""How a candidate is trained: the stages that its policy needs, in order."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import (
    TENSOR,
    ClusterRecipe,
    ExportRecipe,
    PruneRecipe,
    StageRecipe,
    StructureRecipe,
)
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.decompositions import CHANNELS
from paretune.spaces.policies.layers import LayerSpec, under_recipe
from paretune.spaces.policies.policy import Policy, digest_of
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.suggest import nearest

#: The stages of the collaborative pipeline, in order.
STAGES = ("structure", "prune", "cluster", "quantize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a candidate is trained, stage by stage, and exported."""

    structure: StructureRecipe = field(default_factory=StructureRecipe)
    prune: PruneRecipe = field(default_factory=PruneRecipe)
    cluster: ClusterRecipe = field(default_factory=ClusterRecipe)
    quantize: StageRecipe = field(default_factory=StageRecipe)
    export: ExportRecipe = field(default_factory=ExportRecipe)

    def to_document(self) -> dict[str, dict[str, Any]]:
        """Return plain data that :func:`read_recipe` reads back to an equal recipe."""
        return {stage.name: asdict(getattr(self, stage.name)) for stage in fields(self)}


def stages_of(policy: Policy) -> tuple[str, ...]:
    """Return the stages that a policy needs, in order."""
    return tuple(stage for stage in STAGES if stage_share(stage, policy))


def stage_share(stage: str, policy: Policy) -> dict[str, Any]:
    """Return what a policy decides for one stage, by layer; layers that the stage leaves alone are left out.

    Together with the shares of the stages before it, this decides the weights that a stage gives.
    """
    if stage == "structure":
        shares = {name: (decided.channels, decided.rank) for name, decided in policy.items()}
        return {name: share for name, share in shares.items() if share != (1, None)}
    if stage == "prune":
        return {name: decided.sparsity for name, decided in policy.items() if decided.sparsity > 0}
    if stage == "cluster":
        return {name: decided.clusters for name, decided in policy.items() if decided.clusters is not None}
    return {name: True for name, decided in policy.items() if decided.quantization is Quantization.INT8_QAT}


def cluster_scope_of(policy: Policy, recipe: Recipe) -> str:
    """Return what shares one set of centroids; a policy without clusters does not depend on what the recipe says."""
    return recipe.cluster.scope if stage_share("cluster", policy) else TENSOR


def decomposition_in(policy: Policy, recipe: Recipe) -> str:
    """Return how ranks split kernels; a policy without ranks does not depend on what the recipe says."""
    has_rank = any(decided.rank is not None for decided in policy.values())
    return recipe.structure.decomposition if has_rank else CHANNELS


def stage_recipe(stage: str, policy: Policy, recipe: Recipe) -> StageRecipe:
    """Return the settings of a stage; which channels go, and how ranks split kernels, as by default where none do."""
    if stage == "structure":
        has_narrow = any(decided.channels < 1 for decided in policy.values())
        criterion = recipe.structure.criterion if has_narrow else StructureRecipe().criterion
        return replace(recipe.structure, criterion=criterion, decomposition=decomposition_in(policy, recipe))
    found: StageRecipe = getattr(recipe, stage)
    return found


def layers_under(recipe: Recipe, layers: Iterable[LayerSpec]) -> tuple[LayerSpec, ...]:
    """Return the layers that the doctor has described as policies of a recipe decide about them."""
    return under_recipe(layers, pattern=recipe.prune.pattern, decomposition=recipe.structure.decomposition)


def training_steps_of(policy: Policy, recipe: Recipe, rung: Rung, samples: int) -> int:
    """Return the optimizer steps that a trial of ``policy`` takes on so many training samples."""
    if rung is Rung.PROXY:
        return 0
    stages: list[StageRecipe] = [getattr(recipe, stage) for stage in stages_of(policy)]
    return sum(stage.steps(samples, rung) for stage in stages)


def untrained_digest(architecture: str, recipe: Recipe, policy: Policy) -> str:
    """Return SHA-256 of what decides, beside the policy, what a candidate measures at the rung ``proxy``.

    That is which channels go, how ranks split kernels, what zeros keep to and what shares a set of clusters, each where
    the policy has any; and the repairs of the file.
    """
    structure: Any = stage_recipe("structure", policy, recipe)
    settings = {
        "structure": [structure.criterion, structure.decomposition],
        "prune": recipe.prune.pattern,
        "cluster": recipe.cluster.scope,
    }
    acting = {stage: setting for stage, setting in settings.items() if stage_share(stage, policy)}
    return digest_of([architecture, acting, asdict(recipe.export)])


def read_recipe(document: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Build a recipe from plain data; what is not named keeps its default.

    Raises:
        ConfigurationError: On an unknown stage or setting, or a value out of range; the stage is named.
    """
    kinds = {
        "structure": StructureRecipe,
        "prune": PruneRecipe,
        "cluster": ClusterRecipe,
        "quantize": StageRecipe,
        "export": ExportRecipe,
    }
    stages: dict[str, Any] = {}
    for stage, settings in document.items():
        if stage not in kinds:
            raise ConfigurationError(f"Unknown stage '{stage}'; known are {', '.join(kinds)}.{nearest(stage, kinds)}")
        known = [entry.name for entry in fields(kinds[stage])]
        for name in settings:
            if name not in known:
                raise ConfigurationError(
                    f"Unknown setting '{name}' of stage '{stage}'; known are {', '.join(known)}.{nearest(name, known)}"
                )
        try:
            stages[stage] = kinds[stage](**settings)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error} (stage '{stage}')") from None
    return Recipe(**stages)
