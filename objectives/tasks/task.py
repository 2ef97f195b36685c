"""The task: which loss trains the model, and which metric scores its outputs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.dataset import Dataset
from paretune.objectives.data.rows import Rows
from paretune.objectives.data.signature import signature_of
from paretune.objectives.keras_door import keras
from paretune.objectives.loading.functions import is_function_reference, resolve_function
from paretune.objectives.tasks.output_kinds import OutputTask, output_task
from paretune.objectives.tasks.prediction_loss import prediction_loss
from paretune.objectives.tasks.scores import SCORES, Score
from paretune.spaces.errors import ConfigurationError, MeasurementFailed
from paretune.spaces.results.objective import FILE_OBJECTIVES, Direction, Objective
from paretune.spaces.suggest import nearest

KINDS = ("classification", "regression")
_DEFAULT_METRIC = {"classification": "accuracy", "regression": "mae"}


#: Arrays for each output.
_Arrays = Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class _Metric:
    """A metric in two steps.

    Attributes:
        read: Turns targets and outputs into what is compared, row by row.
        score: Compares.
    """

    read: Callable[[_Arrays, _Arrays], tuple[_Arrays, _Arrays]]
    score: Callable[[_Arrays, _Arrays], Any]


@dataclass(frozen=True, slots=True)
class Task:
    """How a model is trained and scored.

    Attributes:
        objective: The metric, as the search knows it.
        outputs: What each output predicts, in Keras order.
    """

    objective: Objective
    outputs: tuple[OutputTask, ...]
    _metric: _Metric

    def score(self, targets: Sequence[Rows], outputs: Sequence[NDArray[Any]]) -> float:
        """Return the metric of a model's outputs; all rows count alike.

        Args:
            targets: Rows for each output, as in :class:`~paretune.objectives.data.dataset.Samples`; they are read
                whole, like the outputs.
            outputs: What the model gave for the same rows, in the same order.

        Raises:
            MeasurementFailed: An output or the metric is no finite number, or the user's metric failed.
        """
        return self.by_rows(targets, outputs)(None)

    def by_rows(
        self, targets: Sequence[Rows], outputs: Sequence[NDArray[Any]]
    ) -> Callable[[NDArray[np.int64] | None], float]:
        """Return a function that computes the metric of chosen rows, which may repeat; ``None`` chooses all.

        What does not depend on the choice is done once.

        Args:
            targets: As in :meth:`score`.
            outputs: As in :meth:`score`.

        Raises:
            MeasurementFailed: As :meth:`score`; of the function too.
        """
        for task, output in zip(self.outputs, outputs, strict=True):
            if not np.isfinite(output).all():
                raise MeasurementFailed(f"Output '{task.name}' must be finite numbers, got NaN or infinity.")
        truths, answers = self._metric.read([rows[:] for rows in targets], outputs)

        def score(rows: NDArray[np.int64] | None) -> float:
            if rows is None:
                return self._number(self._metric.score(truths, answers))
            chosen = ([array[rows] for array in side] for side in (truths, answers))
            return self._number(self._metric.score(*chosen))

        return score

    def labels(
        self, targets: Sequence[Rows], outputs: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Return the right label of each row and the one that a model gives; ``None`` unless each has one class."""
        if len(self.outputs) > 1 or self.outputs[0].kind != "classification":
            return None
        (task,) = self.outputs
        truth, said = task.truth(targets[0][:]), task.prediction(outputs[0])
        if truth.dtype == np.bool_ or truth.size != len(truth):
            return None
        return truth.reshape(-1).astype(np.int64), said.reshape(-1).astype(np.int64)

    def _number(self, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise MeasurementFailed(f"Metric '{self.objective.name}' must be one number, got {value!r}.") from None
        if not math.isfinite(number):
            raise MeasurementFailed(f"Metric '{self.objective.name}' must be a finite number, got {number}.")
        return number

    def loss(self, targets: Sequence[Rows], outputs: Sequence[NDArray[Any]]) -> float:
        """Return the mean loss of a model's outputs, as :func:`prediction_loss` defines it; rows as in `score`."""
        return prediction_loss(self.outputs, [rows[:] for rows in targets], outputs)

    def losses(self) -> list[Any]:
        """Return a new Keras loss for each output, in Keras order."""
        return [_loss(task, self.objective.name) for task in self.outputs]

    def check(self, dataset: Dataset) -> None:
        """Check the targets of every split.

        Raises:
            DataError: A target has the wrong shape, or a label is out of range; names array and row.
        """
        for split, samples in dataset.splits().items():
            for task, targets in zip(self.outputs, samples.targets, strict=True):
                where = f"y_{split}" if len(self.outputs) == 1 else f"y_{split} '{task.name}'"
                task.check(where, targets)


def build_task(
    kind: str | None,
    metric: str | None,
    model: Any,
    dataset: Dataset,
    beside: Path,
    *,
    direction: str | None = None,
) -> Task:
    """Decide how a model is trained and scored.

    Args:
        kind: ``classification``, ``regression``, or ``None`` to tell it, output by output, from the last activation
            and the targets.
        metric: ``accuracy``, ``f1_macro``, ``mae``, ``rmse``, ``r2``, or a function of the user's own as
            ``module:function``, called with targets and outputs (lists of them where there are several outputs).
            ``None`` takes accuracy or mae. Over several outputs, the mean counts.
        model: The working copy.
        dataset: Its data.
        beside: Folder that a function is resolved in.
        direction: ``maximize`` or ``minimize``, for a function; ``None`` takes its attribute ``direction``, else
            ``maximize``.

    Raises:
        ConfigurationError: An unknown kind, metric or direction, or ones that do not go together.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigurationError(f"Unknown task '{kind}'; known are {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    ports = signature_of(model).outputs
    outputs = tuple(
        output_task(port.name, tensor, targets, kind)
        for port, tensor, targets in zip(ports, model.outputs, dataset.train.targets, strict=True)
    )
    if metric is not None and is_function_reference(metric):
        return _task_of_function(metric, beside, direction, outputs)
    if direction is not None:
        raise ConfigurationError(f"`direction` is for a metric of your own; {metric or 'the default one'} has its own.")
    kinds = sorted({output.kind for output in outputs})
    if len(kinds) > 1:
        raise ConfigurationError(
            "The outputs must share one task, got both classification and regression; "
            "set `task`, or give a metric of your own as module:function."
        )
    name = metric or _DEFAULT_METRIC[kinds[0]]
    score = _score_called(name, kinds[0])
    return Task(Objective(name=name, direction=score.direction), outputs, _mean_over_outputs(score, outputs))


def _score_called(name: str, kind: str) -> Score:
    fitting = [known for known, score in SCORES.items() if score.kind == kind]
    if name not in fitting:
        raise ConfigurationError(
            f"The metric of a {kind} task must be {', '.join(fitting)} or module:function, got '{name}'."
            f"{nearest(name, fitting)}"
        )
    return SCORES[name]


def _mean_over_outputs(score: Score, tasks: tuple[OutputTask, ...]) -> _Metric:
    def read(targets: _Arrays, outputs: _Arrays) -> tuple[_Arrays, _Arrays]:
        truths = [task.truth(target) for task, target in zip(tasks, targets, strict=True)]
        return truths, [task.prediction(output) for task, output in zip(tasks, outputs, strict=True)]

    def mean(truths: _Arrays, predictions: _Arrays) -> float:
        pairs = zip(truths, predictions, strict=True)
        return float(np.mean([score.function(truth, predicted) for truth, predicted in pairs]))

    return _Metric(read, mean)


def _task_of_function(reference: str, beside: Path, direction: str | None, outputs: tuple[OutputTask, ...]) -> Task:
    function = resolve_function(reference, beside)
    name = reference.rpartition(":")[2]
    if name in FILE_OBJECTIVES:
        raise ConfigurationError(f"The metric '{reference}' must not be called {name}, which the file is measured by.")
    wanted = direction or getattr(function, "direction", None) or Direction.MAXIMIZE
    if wanted not in list(Direction):
        raise ConfigurationError(f"`direction` must be maximize or minimize, got {wanted!r} (metric '{reference}').")

    def metric(targets: _Arrays, predicted: _Arrays) -> Any:
        several = len(outputs) > 1
        try:
            return function(list(targets), list(predicted)) if several else function(targets[0], predicted[0])
        except Exception as error:  # whatever the user's function raises
            reason = str(error).splitlines()[0] if str(error) else ""
            raise MeasurementFailed(f"Metric '{reference}' failed: {type(error).__name__}: {reason}") from error

    as_they_are = _Metric(lambda targets, predicted: (targets, predicted), metric)
    return Task(Objective(name=name, direction=Direction(wanted)), outputs, as_they_are)


def _loss(task: OutputTask, metric: str) -> Any:
    if task.kind == "regression":
        return keras.losses.MeanAbsoluteError() if metric == "mae" else keras.losses.MeanSquaredError()
    if task.coding == "labels":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=not task.gives_probabilities)
    if task.coding == "one_hot" and task.activation != "sigmoid":
        return keras.losses.CategoricalCrossentropy(from_logits=not task.gives_probabilities)
    return keras.losses.BinaryCrossentropy(from_logits=not task.gives_probabilities)
