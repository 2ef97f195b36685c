"""What a worker must be told to build its evaluator; plain data, so that importing it needs no TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paretune.spaces.results.objective import FileFunction

#: Class weights by how often each class occurs.
BALANCED = "balanced"

#: Room for trained stages in the folder of a run.
MOST_STAGE_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What files are compiled for, or run on, where such objectives are asked for.

    Attributes:
        accelerator: Configuration of the Ethos-U, as Vela names it.
        adb: Serial number of the Android device; ``None`` for the only one attached.
        benchmark_model: LiteRT's ``benchmark_model`` built for Android; seen from the experiment file's folder.
    """

    accelerator: str = "ethos-u55-128"
    adb: str | None = None
    benchmark_model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorSettings:
    """Everything that decides what an evaluator computes, apart from the candidates.

    Attributes:
        model: ``module:function``, a ``.keras`` or ``.h5`` file, or a SavedModel folder. The function takes nothing,
            or the hyperparameters that models are built with for the search.
        data: ``module:function``, a ``.npz`` file, a folder of ``.npy`` files or of images, or ``keras:NAME``.
        beside: Absolute folder that relative references are resolved in: the experiment file's.
        task: ``classification``, ``regression``, or ``None`` to tell it from the model and the labels.
        metric: Name of a metric, or ``module:function``; ``None`` for the task's default.
        direction: ``maximize`` or ``minimize``, for a metric of the user's own; ``None`` otherwise.
        class_weights: ``balanced``, or the factor of the training loss by label; ``None`` weighs classes alike.
        base_epochs: Passes over the training data for a model that is built for its hyperparameters, at least 1.
        base_batch_size: Samples per training step of these, at least 1.
        seed: Seeds the split of the data, and the weights and training of models that are built for the search.
        threads: Threads of one worker, for training and for inference.
        trust_model: Whether code inside the model file may run.
        cache_folder: Where prepared models are kept, absolute; ``None`` keeps nothing.
        stage_folder: Where trained stages are kept, absolute; ``None`` keeps nothing.
        stage_bytes: Room for trained stages; the least recently used go first.
        turnstile_folder: Where the processes that share this machine meet, absolute; ``None`` when there is one.
        proxy_latency: Whether candidates that are not trained are measured for latency too.
        engine: ``compiled``, or ``reference`` to train with tfmot's own flow.
        asked: Of :data:`~paretune.spaces.results.objective.ASKED_OBJECTIVES`, those to measure.
        functions: Objectives of the user's own.
        device: What files are compiled for or run on.
    """

    model: str
    data: str
    beside: str
    task: str | None = None
    metric: str | None = None
    direction: str | None = None
    class_weights: Mapping[int, float] | str | None = None
    base_epochs: int = 10
    base_batch_size: int = 64
    seed: int = 0
    threads: int = 1
    trust_model: bool = False
    cache_folder: str | None = None
    stage_folder: str | None = None
    stage_bytes: int = MOST_STAGE_BYTES
    turnstile_folder: str | None = None
    proxy_latency: bool = False
    engine: str = "compiled"
    asked: tuple[str, ...] = ()
    functions: tuple[FileFunction, ...] = ()
    device: Device = field(default_factory=Device)

    def versions(self) -> Mapping[str, str]:
        """Return the versions of the packages that change numbers, by package."""
        from importlib.metadata import version

        return {package: version(package) for package in PACKAGES_THAT_CHANGE_NUMBERS}


PACKAGES_THAT_CHANGE_NUMBERS = (
    "tensorflow",
    "tf-keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "numpy",
)
