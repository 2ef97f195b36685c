"""How a candidate is trained, and what a trial evaluates."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policy import Policy, Quantization, digest_of
from paretune.spaces.suggest import nearest


class Rung(StrEnum):
    """How much is spent on a trial: nothing, a quarter of the recipe's epochs, or all of them."""

    PROXY = "proxy"
    SHORT = "short"
    FULL = "full"

    @property
    def epochs_share(self) -> float:
        """Fraction of the recipe's epochs trained at this rung."""
        return {Rung.PROXY: 0.0, Rung.SHORT: 0.25, Rung.FULL: 1.0}[self]


#: Keras' optimizers, in small letters.
OPTIMIZERS = (
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "ftrl",
    "lion",
    "nadam",
    "rmsprop",
    "sgd",
)

#: What tells which channels matter.
CRITERIA = ("l1", "entropy")

#: The stages of the collaborative pipeline, in order.
STAGES = ("structure", "prune", "cluster", "quantize")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecipe:
    """Training settings of one stage.

    Attributes:
        epochs: Passes over the training data, above 0; fractions are allowed.
        learning_rate: Initial step size of the optimizer, above 0.
        batch_size: Samples per training step, at least 1.
        schedule: Learning rate over the stage: ``constant``, or ``cosine`` (decays to 0).
        optimizer: One of :data:`OPTIMIZERS`, in any case.
        optimizer_arguments: What it is called with beside the learning rate, such as ``{momentum: 0.9}``.
    """

    epochs: float = 2.0
    learning_rate: float = 1e-3
    batch_size: int = 64
    schedule: str = "cosine"
    optimizer: str = "adam"
    optimizer_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def steps(self, samples: int, rung: Rung = Rung.FULL) -> int:
        """Return the optimizer steps this takes on so many training samples: at least one, a started batch counts."""
        return max(1, math.ceil(rung.epochs_share * self.epochs * math.ceil(samples / self.batch_size_for(samples))))

    def batch_size_for(self, samples: int) -> int:
        """Return the batch size, never more than there are samples."""
        return max(1, min(self.batch_size, samples))

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ConfigurationError(f"`{name}` must be a number above 0, got {value!r}.")
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise ConfigurationError(f"`batch_size` must be a whole number of at least 1, got {self.batch_size!r}.")
        if self.schedule not in ("constant", "cosine"):
            raise ConfigurationError(f"`schedule` must be constant or cosine, got {self.schedule!r}.")
        if str(self.optimizer).lower() not in OPTIMIZERS:
            raise ConfigurationError(
                f"`optimizer` must be {', '.join(OPTIMIZERS)}, got {self.optimizer!r}."
                f"{nearest(str(self.optimizer).lower(), OPTIMIZERS)}"
            )
        arguments = self.optimizer_arguments
        if not isinstance(arguments, Mapping) or "learning_rate" in arguments:
            raise ConfigurationError(
                f"`optimizer_arguments` must be a mapping without `learning_rate`, got {arguments!r}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureRecipe(StageRecipe):
    """Training settings of the structure stage.

    Attributes:
        criterion: Which channels go: those whose filters have the smallest ``l1`` norm (Li et al. 2017, Pruning filters
            for efficient ConvNets), or whose pooled activations have the smallest ``entropy`` over the training samples
            (Luo & Wu 2017, An entropy-based pruning method for CNN compression).
    """

    epochs: float = 4.0
    criterion: str = "l1"

    def __post_init__(self) -> None:
        StageRecipe.__post_init__(self)
        if self.criterion not in CRITERIA:
            raise ConfigurationError(f"`criterion` must be {' or '.join(CRITERIA)}, got {self.criterion!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRecipe(StageRecipe):
    """Training settings of the prune stage.

    Attributes:
        pruning_schedule: ``polynomial`` raises sparsity with a cubic ramp (Zhu & Gupta 2017, To prune, or not to
            prune), ``constant`` prunes to the target from ``begin`` on.
        begin: Share of the stage's steps before the first pruning, in [0, 1).
        end: Share of the steps at which the target is reached, in (begin, 1].
        frequency: Steps between two updates of the mask, at least 1.
    """

    epochs: float = 4.0
    pruning_schedule: str = "polynomial"
    begin: float = 0.0
    end: float = 0.75
    frequency: int = 5

    def __post_init__(self) -> None:
        # dataclass(slots=True) makes a new class, which the zero-argument super() would not find
        StageRecipe.__post_init__(self)
        if self.pruning_schedule not in ("polynomial", "constant"):
            raise ConfigurationError(
                f"`pruning_schedule` must be polynomial or constant, got {self.pruning_schedule!r}."
            )
        if not all(isinstance(value, int | float) for value in (self.begin, self.end)) or not (
            0 <= self.begin < self.end <= 1
        ):
            raise ConfigurationError(f"0 <= `begin` < `end` <= 1 must hold, got {self.begin!r} and {self.end!r}.")
        if type(self.frequency) is not int or self.frequency < 1:
            raise ConfigurationError(f"`frequency` must be a whole number of at least 1, got {self.frequency!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a candidate is trained, stage by stage."""

    structure: StructureRecipe = field(default_factory=StructureRecipe)
    prune: PruneRecipe = field(default_factory=PruneRecipe)
    cluster: StageRecipe = field(default_factory=StageRecipe)
    quantize: StageRecipe = field(default_factory=StageRecipe)

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


def training_steps_of(policy: Policy, recipe: Recipe, rung: Rung, samples: int) -> int:
    """Return the optimizer steps that a trial of ``policy`` takes on so many training samples."""
    if rung is Rung.PROXY:
        return 0
    stages: list[StageRecipe] = [getattr(recipe, stage) for stage in stages_of(policy)]
    return sum(stage.steps(samples, rung) for stage in stages)


def read_recipe(document: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Build a recipe from plain data; what is not named keeps its default.

    Raises:
        ConfigurationError: On an unknown stage or setting, or a value out of range; the stage is named.
    """
    kinds = {"structure": StructureRecipe, "prune": PruneRecipe, "cluster": StageRecipe, "quantize": StageRecipe}
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
        recipe = self.recipe.to_document()
        stages = {stage: [recipe[stage], stage_share(stage, self.policy)] for stage in stages_of(self.policy)}
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
