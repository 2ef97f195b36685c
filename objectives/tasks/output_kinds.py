"""What one output of a model predicts, and how its numbers and targets are read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.rows import Rows, blocks
from paretune.spaces.errors import DataError

#: Layers that pass on what the activation before them gave.
_PASS_ON = ("Reshape", "Flatten", "Permute", "Dropout")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTask:
    """What one output predicts.

    Attributes:
        name: Name of the output.
        kind: ``classification`` or ``regression``.
        shape: Shape of one sample of the output; ``None`` where any length will do.
        coding: How a class is written: ``labels`` (one whole number for all units), ``one_hot`` (a 1 among 0s), or
            ``yes_no`` (0 or 1 for each unit on its own). Empty for regression.
        activation: What the output ends in: ``softmax`` or ``sigmoid`` (probabilities), else its numbers are logits.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    coding: str = ""
    activation: str = "linear"

    @property
    def gives_probabilities(self) -> bool:
        """Whether the output is probabilities rather than logits."""
        return self.activation in ("softmax", "sigmoid")

    def truth(self, targets: NDArray[Any]) -> NDArray[Any]:
        """Return targets as they compare with :meth:`prediction`.

        That is a label for each row; a truth value for each unit, where several say yes or no on their own; the
        targets themselves for regression.
        """
        if self.coding == "yes_no":
            return self._labels_or_truth_values(targets > 0.5)
        return targets.argmax(axis=-1) if self.coding == "one_hot" else targets

    def prediction(self, output: NDArray[Any]) -> NDArray[Any]:
        """Return what the output says, in the form of :meth:`truth`."""
        if self.coding == "yes_no":
            return self._labels_or_truth_values(output > (0.5 if self.gives_probabilities else 0.0))
        return output if self.kind == "regression" else output.argmax(axis=-1)

    def _labels_or_truth_values(self, yes: NDArray[np.bool_]) -> NDArray[Any]:
        return yes.astype(np.int32) if self.shape[-1:] == (1,) else yes

    def check(self, where: str, targets: Rows) -> None:
        """Check one split's targets.

        Raises:
            DataError: Wrong shape, or a label that is out of range or no whole number; ``where`` names the array.
        """
        shape = self.shape[:-1] if self.coding == "labels" else self.shape
        if not _fits(targets.shape[1:], shape):
            also = f" or (rows, {', '.join(_sizes(self.shape[:-1]))})" if self.coding == "one_hot" else ""
            raise DataError(
                f"Targets of output '{self.name}' must have shape (rows, {', '.join(_sizes(shape))}){also}, "
                f"got {targets.shape} ({where})."
            )
        if self.kind == "classification":
            self._check_labels(where, targets)

    def _check_labels(self, where: str, targets: Rows) -> None:
        units = self.shape[-1] or 0
        highest = units - 1 if self.coding == "labels" else 1
        for first, block in blocks(targets):
            wrong = (block < 0) | (block > highest)
            if self.coding != "one_hot":  # soft labels are fine for cross-entropy, as a distribution
                wrong |= block != np.rint(block)
            if wrong.any():
                place = tuple(np.argwhere(wrong)[0])
                wanted = f"0..{highest} for {units} outputs" if self.coding == "labels" else "0 or 1"
                counts_from_one = self.coding == "labels" and _range(targets) == (1, units)
                hint = " They seem to count from 1: subtract 1." if counts_from_one else ""
                raise DataError(
                    f"labels must be {wanted}, got {block[place]:g} ({where}, row {first + place[0]}).{hint}"
                )


def output_task(name: str, tensor: Any, targets: Rows, kind: str | None) -> OutputTask:
    """Tell what an output predicts.

    Without ``kind`` it is classification when the output ends in softmax, when it ends in sigmoid and the targets are 0
    and 1, when there is one target for several units, and when targets are whole numbers 0 and 1 or one-hot (in any
    type: ``to_categorical`` gives floats). Otherwise it is regression.

    Args:
        name: Name of the output.
        tensor: The model's symbolic output.
        targets: Its training targets.
        kind: The kind of task, where the user says it.
    """
    shape = tuple(tensor.shape[1:])
    activation = last_activation(tensor)
    if (kind or _likely_kind(activation, shape, targets)) == "regression":
        return OutputTask(name=name, kind="regression", shape=shape)
    return OutputTask(
        name=name,
        kind="classification",
        shape=shape,
        coding=_coding(shape, targets),
        activation=activation,
    )


def last_activation(tensor: Any) -> str:
    """Return the name of the activation that a symbolic tensor comes from; ``linear`` where none is known."""
    history = tensor._keras_history
    layer = history.layer
    kind = type(layer).__name__
    if hasattr(layer, "layers") and hasattr(layer, "outputs"):
        return last_activation(layer.outputs[history.tensor_index])
    if kind in _PASS_ON:
        return last_activation(layer.get_input_at(history.node_index))
    if kind == "Softmax":
        return "softmax"
    if kind == "TFOpLambda":
        return str(layer.symbol).rpartition(".")[2]
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", "linear")
    if kind == "Activation" and name == "linear":
        return last_activation(layer.get_input_at(history.node_index))
    return str(name)


def _likely_kind(activation: str, shape: tuple[int | None, ...], targets: Rows) -> str:
    if activation == "softmax":
        return "classification"
    is_yes_no = all(np.isin(block, (0, 1)).all() for _, block in blocks(targets))
    if activation == "sigmoid":
        return "classification" if is_yes_no else "regression"
    if len(targets.shape) == len(shape) + 1:
        is_whole = np.issubdtype(targets.dtype, np.integer)
        is_one_hot = shape[-1:] != (1,) and _sums_to_one(targets)
        return "classification" if is_yes_no and (is_whole or is_one_hot) else "regression"
    return "classification"


def _coding(shape: tuple[int | None, ...], targets: Rows) -> str:
    if shape[-1:] == (1,):
        return "yes_no"
    if len(targets.shape) != len(shape) + 1:
        return "labels"
    return "one_hot" if _sums_to_one(targets) else "yes_no"


def _sums_to_one(targets: Rows) -> bool:
    return all(np.allclose(block.sum(axis=-1), 1, atol=1e-3) for _, block in blocks(targets))


def _range(targets: Rows) -> tuple[float, float]:
    """Return the least and the greatest value."""
    ranges = [(float(block.min()), float(block.max())) for _, block in blocks(targets)]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _fits(got: tuple[int, ...], want: tuple[int | None, ...]) -> bool:
    return len(got) == len(want) and all(size in (None, have) for have, size in zip(got, want, strict=True))


def _sizes(shape: tuple[int | None, ...]) -> list[str]:
    return ["any" if size is None else str(size) for size in shape]
