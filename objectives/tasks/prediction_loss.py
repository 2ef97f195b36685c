"""The loss of predictions, a smoother guide than a metric: it moves before the first label flips."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.tasks.output_kinds import OutputTask

#: What probabilities count as at least. Int8 outputs come in steps of 1/256, and a rounded zero proves nothing.
LEAST_PROBABILITY = 1 / 512


def prediction_loss(
    tasks: Sequence[OutputTask], targets: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]
) -> float:
    """Return the mean loss of a model's outputs, over rows and then over outputs.

    Cross-entropy in nats for classes, binary cross-entropy for units that say yes or no on their own, mean squared
    error for numbers.

    Args:
        tasks: What each output predicts.
        targets: Rows for each output.
        outputs: What the model gave for the same rows; finite.
    """
    losses = [
        _loss(task, np.asarray(truth), output.astype(np.float64))
        for task, truth, output in zip(tasks, targets, outputs, strict=True)
    ]
    return float(np.mean(losses))


def _loss(task: OutputTask, truth: NDArray[Any], output: NDArray[np.float64]) -> float:
    if task.kind == "regression":
        return float(np.mean((output - truth.reshape(output.shape)) ** 2))
    if task.coding == "yes_no" or (task.coding == "one_hot" and task.activation == "sigmoid"):
        probability = output if task.gives_probabilities else _sigmoid(output)
        yes = truth.reshape(output.shape) > 0.5
        return float(-np.mean(np.log(_clipped(np.where(yes, probability, 1 - probability)))))
    probabilities = _clipped(output if task.gives_probabilities else _softmax(output))
    if task.activation == "sigmoid":  # one label for units that do not add up to 1 on their own
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
    if task.coding == "one_hot":
        return float(-np.mean((truth * np.log(probabilities)).sum(axis=-1)))
    labels = truth.reshape(output.shape[:-1]).astype(np.int64)
    return float(-np.mean(np.log(np.take_along_axis(probabilities, labels[..., None], axis=-1))))


def _clipped(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(probabilities, LEAST_PROBABILITY, 1.0)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))
