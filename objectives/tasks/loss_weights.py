"""How much each row's loss counts in training: the data's own weights times those of the classes.

Metrics are not weighted.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.dataset import Samples
from paretune.objectives.data.rows import blocks
from paretune.objectives.tasks.output_kinds import OutputTask
from paretune.spaces.errors import ConfigurationError


def loss_weights(
    samples: Samples, outputs: Sequence[OutputTask], class_weights: Mapping[int, float] | str | None
) -> NDArray[np.float32] | None:
    """Return the factor of each row's loss, in the shape that Keras losses multiply by rows.

    Args:
        samples: The training split.
        outputs: What the model's outputs predict.
        class_weights: ``balanced``, a factor by label (1 for labels that are not named), or ``None``.

    Returns:
        Shape (rows,), with axes of length 1 after it where outputs have three axes or more; ``None`` weighs all alike.

    Raises:
        ConfigurationError: Class weights for anything but one output with one class per row, for labels that there
            are not, or that leave nothing to train on.
    """
    weights = samples.weights
    if class_weights is not None:
        factors = _class_factors(samples, outputs, class_weights)
        weights = factors if weights is None else weights * factors
        if not weights.any():
            raise ConfigurationError("`class_weights` must leave some training row a weight above 0, got 0 for all.")
    return None if weights is None else weights.reshape(len(weights), *_trailing_axes(outputs))


def _class_factors(
    samples: Samples, outputs: Sequence[OutputTask], class_weights: Mapping[int, float] | str
) -> NDArray[np.float32]:
    _require_one_class_per_row(outputs)
    output, targets = outputs[0], samples.targets[0]
    labels = np.concatenate([output.truth(block).reshape(len(block)).astype(np.int64) for _, block in blocks(targets)])
    count = max(2, output.shape[0] or 0)
    if isinstance(class_weights, str):
        factors = _balanced(np.bincount(labels, minlength=count))
    else:
        unknown = sorted(label for label in class_weights if not 0 <= label < count)
        if unknown:
            raise ConfigurationError(f"`class_weights` must name labels 0..{count - 1}, got {unknown[0]}.")
        factors = np.array([class_weights.get(label, 1.0) for label in range(count)])
    by_row: NDArray[np.float32] = factors[labels].astype(np.float32)
    return by_row


def _balanced(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``rows / (classes * count)`` for each class, as ``class_weight="balanced"`` of scikit-learn does.

    Classes without rows do not count as classes.

    References:
        King and Zeng (2001), Logistic regression in rare events data, sec. 4.
    """
    factors: NDArray[np.float64] = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return factors


def _require_one_class_per_row(outputs: Sequence[OutputTask]) -> None:
    got = f"{len(outputs)} outputs"
    if len(outputs) == 1:
        (output,) = outputs
        tells_one = output.coding in ("labels", "one_hot") or (output.coding == "yes_no" and output.shape == (1,))
        if tells_one and len(output.shape) == 1:
            return
        several = f"several classes per row (output '{output.name}')"
        got = several if output.kind == "classification" else f"regression (output '{output.name}')"
    raise ConfigurationError(
        f"`class_weights` need a model with one output that tells one class per row, got {got}; "
        "leave them out, or weigh rows with w_train."
    )


def _trailing_axes(outputs: Sequence[OutputTask]) -> tuple[int, ...]:
    """Return the axes that a factor per row needs after it.

    A loss has one axis less than its output. Keras adds one axis to the weights where it is missing, but would multiply
    the weights of rows with the last axis of a loss over images (tf_keras 2.21, ``squeeze_or_expand_dimensions``).
    """
    axes = {len(output.shape) for output in outputs}
    if max(axes) <= 2:
        return ()
    if len(axes) > 1:
        raise ConfigurationError(
            f"Rows can be weighed (w_train) where all outputs have as many axes, got {sorted(axes)}; leave w_train out."
        )
    return (1,) * (max(axes) - 1)
