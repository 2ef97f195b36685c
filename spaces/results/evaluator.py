"""What the search is handed: something that evaluates candidates."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.hyperspace import Hyperparameter
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.objective import Objective
from paretune.spaces.results.resampling import Resampled


class Split(StrEnum):
    """Part of the data a file is measured on: ``validation`` steers the search, which never sees ``test``."""

    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """A model as the search needs to know it.

    Attributes:
        architecture: Digest of architecture and weights; goes into every candidate.
        layers: The layers that a policy can decide about, in model order.
        objectives: Every objective it can measure, by name; the task's metric first.
        fingerprint: Digest or version by part (``model``, ``data``, ...); equal parts give equal numbers.
        notes: What the user should know, one sentence each: rewrites applied to the working copy, layers that no knob
            covers, how the data was read.
        machine: CPU, its features, threads: what latency depends on.
        samples: Number of samples by split, ``train`` included.
        hyperparameters: Values that the model was built with; empty for one that the user gives as it is.
        hyperspace: The hyperparameters that other models can be built with; empty where there are none.
    """

    architecture: str
    layers: tuple[LayerSpec, ...]
    objectives: Mapping[str, Objective]
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    hyperspace: tuple[Hyperparameter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileExample:
    """What a file answers to a few samples, recorded so that it can be tried elsewhere.

    Attributes:
        inputs: Array by name in the file's signature, samples first, in the types that the file takes.
        outputs: Likewise what it gave, each sample run alone and from a clean state.
        operators: Kinds of the operators that the file is made of, sorted.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    operators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a file says about every row of a split, where each row has one class.

    Attributes:
        truth: The right label of each row.
        said: The label that the file gives.
        class_names: By label; empty where the data names none.
    """

    truth: tuple[int, ...]
    said: tuple[int, ...]
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A file measured closely on one split.

    Attributes:
        values: As :meth:`Evaluator.remeasure` gives them.
        resampled: Its metric on resamples of the rows: the same ones for every file.
        answers: Its label of every row; ``None`` where rows do not have one class each.
    """

    values: Mapping[str, float]
    resampled: Resampled
    answers: Answers | None = None


class Evaluator(Protocol):
    """Evaluates candidates of one model, or of the models of one hyperspace, one at a time.

    The same candidate, rung and number of threads give the same file, accuracy and size in any process, whatever ran
    before; seconds and latency are observations.
    """

    def describe(self, hyperparameters: Mapping[str, Any] | None = None) -> ModelDescription:
        """Return what is known about the model without compressing anything.

        Args:
            hyperparameters: Of the hyperspace; the model is built with them and trained, once. ``None`` stands for
                the user's model, or the default of every hyperparameter.

        Raises:
            Infeasible: No model can be built and trained with these.
        """

    def baseline(self) -> Measurement:
        """Convert and measure the uncompressed float32 model, like any trial."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        """Train, export and measure one candidate on the validation split.

        One that leaves every layer as it was is the base model itself; if that was built for its hyperparameters, its
        training is what the measurement says it cost.

        Raises:
            Infeasible: The policy cannot be built or trained; never worth a retry.
            MeasurementFailed: Built but not measured; worth one retry.
            LimitReached: ``limit`` was spent first.
        """

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        """Measure the contents of an exported ``.tflite`` on a split; latency is left out.

        Args:
            model: The contents.
            split: What it is measured on.
            hyperparameters: Of the candidate that the file is of; as in :meth:`describe`.
        """

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        """Run the contents of an exported ``.tflite`` on the first samples of the test split.

        Args:
            model: The contents.
            hyperparameters: Of the candidate that the file is of; as in :meth:`describe`.
        """

    def inspect(self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None) -> Inspection:
        """Measure a file as :meth:`remeasure` does, and how sure that is: row by row, and on resamples of the rows.

        The resamples depend on nothing but the number of rows, so that files are compared on the same ones.
        """


class EvaluationService(Protocol):
    """Evaluates candidates elsewhere, several at a time.

    Futures carry a :class:`Measurement`, or one of the exceptions of :meth:`Evaluator.evaluate`, or ``WorkerLost``.
    """

    @property
    def workers(self) -> int:
        """How many evaluations run at the same time."""

    def submit(self, candidate: Candidate, rung: Rung, limit: Limit) -> Future[Measurement]:
        """Start an evaluation as soon as a worker is free; a future can be cancelled while it runs."""

    def submit_description(self, hyperparameters: Mapping[str, Any], limit: Limit) -> Future[ModelDescription]:
        """Start building and training the base model of these hyperparameters; as :meth:`Evaluator.describe`."""
