"""Settings of the stages: how each is trained, and what it goes by."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.knob import is_number
from paretune.spaces.policies.decompositions import CHANNELS, DECOMPOSITIONS
from paretune.spaces.policies.patterns import UNSTRUCTURED, require_pattern
from paretune.spaces.suggest import nearest

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

#: Where clusters can start, and what shares one set of them.
INITIALISATIONS = ("linear", "kmeans++", "density", "random")
TENSOR, CHANNEL = "tensor", "channel"
CLUSTER_SCOPES = (TENSOR, CHANNEL)

#: Where the recipe says nothing of epochs, a stage takes so many steps for each of its usual ones, however small the
#: data: what compression breaks is mended by steps, not by passes.
_LEAST_STEPS_AN_EPOCH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecipe:
    """Training settings of one stage.

    Attributes:
        epochs: Passes over the training data, above 0; fractions are allowed. By default :attr:`usual_epochs`, and
            more on small data: then at least 50 steps for each of these.
        learning_rate: Initial step size of the optimizer, above 0.
        batch_size: Samples per training step, at least 1.
        schedule: Learning rate over the stage: ``constant``, or ``cosine`` (decays to 0).
        optimizer: One of :data:`OPTIMIZERS`, in any case.
        optimizer_arguments: What it is called with beside the learning rate, such as ``{momentum: 0.9}``.
        distillation: How much of the loss is the distance from what the uncompressed model answers, in [0, 1]; the
            targets make up the rest. 0 trains on the targets alone (Hinton, Vinyals & Dean 2015, Distilling the
            knowledge in a neural network).
        temperature: What the logits of both models are divided by before they are compared, above 0. The higher, the
            more the model is told about the classes that the uncompressed one ruled out.
    """

    usual_epochs: ClassVar[float] = 2.0

    epochs: float | None = None
    learning_rate: float = 1e-3
    batch_size: int = 64
    schedule: str = "cosine"
    optimizer: str = "adam"
    optimizer_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    distillation: float = 0.0
    temperature: float = 2.0

    def steps(self, samples: int, rung: Rung = Rung.FULL) -> int:
        """Return the optimizer steps this takes on so many training samples: at least one, a started batch counts."""
        a_pass = math.ceil(samples / self.batch_size_for(samples))
        usual = self.usual_epochs * max(a_pass, _LEAST_STEPS_AN_EPOCH)
        return max(1, math.ceil(rung.epochs_share * (usual if self.epochs is None else self.epochs * a_pass)))

    def batch_size_for(self, samples: int) -> int:
        """Return the batch size, never more than there are samples."""
        return max(1, min(self.batch_size, samples))

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "temperature"):
            value = getattr(self, name)
            if name == "epochs" and value is None:
                continue
            if not is_number(value) or not 0 < value < float("inf"):
                raise ConfigurationError(f"`{name}` must be a number above 0, got {value!r}.")
        if not is_number(self.distillation) or not 0 <= self.distillation <= 1:
            raise ConfigurationError(f"`distillation` must be in [0, 1], got {self.distillation!r}.")
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
        decomposition: How a rank splits the kernel of a convolution: by ``channels``, or ``spatial``, see
            :mod:`paretune.spaces.policies.decompositions`.
    """

    usual_epochs: ClassVar[float] = 4.0

    criterion: str = "l1"
    decomposition: str = CHANNELS

    def __post_init__(self) -> None:
        StageRecipe.__post_init__(self)
        for name, known in (("criterion", CRITERIA), ("decomposition", DECOMPOSITIONS)):
            value = getattr(self, name)
            if value not in known:
                raise ConfigurationError(f"`{name}` must be {' or '.join(known)}, got {value!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRecipe(StageRecipe):
    """Training settings of the prune stage.

    Attributes:
        pruning_schedule: ``polynomial`` raises sparsity with a cubic ramp (Zhu & Gupta 2017, To prune, or not to
            prune), ``constant`` prunes to the target from ``begin`` on, until the stage ends.
        begin: Share of the stage's steps before the first pruning, in [0, 1).
        end: Share of the steps at which the ramp reaches the target, in (begin, 1].
        frequency: Steps between two updates of the mask, at least 1.
        pattern: One of :data:`paretune.spaces.policies.patterns.PATTERNS`: where zeros may lie.
    """

    usual_epochs: ClassVar[float] = 4.0

    pruning_schedule: str = "polynomial"
    begin: float = 0.0
    end: float = 0.75
    frequency: int = 5
    pattern: str = UNSTRUCTURED

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
        require_pattern(self.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecipe(StageRecipe):
    """Training settings of the cluster stage.

    Attributes:
        initialisation: Where centroids start: ``linear`` between the extremes, ``kmeans++`` (Arthur & Vassilvitskii
            2007, k-means++: The Advantages of Careful Seeding), ``density`` (evenly over the cumulative distribution)
            or ``random`` between the extremes. Draws follow from the candidate's seed.
        scope: What shares one set of centroids: the whole ``tensor``, or each output ``channel`` of dense and
            convolution layers; other kinds of layers have one set all the same.
    """

    initialisation: str = "linear"
    scope: str = TENSOR

    def __post_init__(self) -> None:
        StageRecipe.__post_init__(self)
        for name, known in (("initialisation", INITIALISATIONS), ("scope", CLUSTER_SCOPES)):
            value = getattr(self, name)
            if value not in known:
                raise ConfigurationError(
                    f"`{name}` must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}."
                    f"{nearest(str(value), known)}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecipe:
    """Repairs on the way into the file; nothing is trained for them.

    Attributes:
        equalise: Whether neighbouring ``int8`` layers are rescaled first, such that their weights span like ranges
            (Nagel et al. 2019, Data-free quantization through weight equalization and bias correction, sec. 4.1).
        correct_bias: Whether biases make up for what rounding the weights adds to a layer's mean output (sec. 4.2
            there).
    """

    equalise: bool = False
    correct_bias: bool = False

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if type(value) is not bool:
                raise ConfigurationError(f"`{entry.name}` must be true or false, got {value!r}.")
