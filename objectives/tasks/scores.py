"""Metrics of predictions, as plain functions of NumPy arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.spaces.results.objective import Direction


def accuracy(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the share of equal labels, over all axes."""
    return float(np.mean(truth == predicted))


def f1_macro(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the mean over classes of ``2 TP / (2 TP + FP + FN)``.

    Classes are the labels that occur in either array. Truth values are several labels per row: each column (last axis)
    is a class.
    """
    if truth.dtype == np.bool_:
        columns = truth.shape[-1]
        pairs = zip(truth.reshape(-1, columns).T, predicted.reshape(-1, columns).T, strict=True)
        return float(np.mean([_f1(true, said) for true, said in pairs]))
    classes = np.union1d(truth, predicted)
    return float(np.mean([_f1(truth == label, predicted == label) for label in classes]))


def mae(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the mean absolute error."""
    return float(np.mean(np.abs(_errors(truth, predicted))))


def rmse(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the square root of the mean squared error."""
    return float(np.sqrt(np.mean(_errors(truth, predicted) ** 2)))


def r2(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the share of the variance that is explained, the mean over columns; constant columns are left out.

    NaN where all columns are constant.
    """
    rows = len(truth)
    truth, errors = truth.reshape(rows, -1).astype(np.float64), _errors(truth, predicted).reshape(rows, -1)
    total = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    varies = total > 0
    if not varies.any():
        return float("nan")
    return float(np.mean(1 - (errors[:, varies] ** 2).sum(axis=0) / total[varies]))


@dataclass(frozen=True, slots=True)
class Score:
    """A metric that ships with Paretune.

    Attributes:
        kind: The kind of task it is for.
        direction: Which way it is better.
        function: Takes truth and prediction.
    """

    kind: str
    direction: Direction
    function: Callable[[NDArray[Any], NDArray[Any]], float]


SCORES: Mapping[str, Score] = {
    "accuracy": Score("classification", Direction.MAXIMIZE, accuracy),
    "f1_macro": Score("classification", Direction.MAXIMIZE, f1_macro),
    "mae": Score("regression", Direction.MINIMIZE, mae),
    "rmse": Score("regression", Direction.MINIMIZE, rmse),
    "r2": Score("regression", Direction.MAXIMIZE, r2),
}


def _f1(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    either = int(truth.sum()) + int(predicted.sum())
    return 2 * int((truth & predicted).sum()) / either if either else 0.0


def _errors(truth: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = predicted.astype(np.float64).reshape(truth.shape) - truth
    return errors
