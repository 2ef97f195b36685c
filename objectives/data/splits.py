"""Split rows off the training data where validation or test data is not given."""

import math

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.rows import Rows

#: Share of the rows that each missing split takes.
HELD_OUT_SHARE = 0.15


def held_out_rows(count: int, labels: NDArray[np.generic] | None, share: float, seed: int) -> NDArray[np.int64]:
    """Draw rows to hold out: ``round(count * share)`` of them, at least one.

    Args:
        count: Number of rows to draw from.
        labels: Class of each row, shape (count,): every class is drawn from in proportion, to within one row.
            ``None`` draws without regard to classes.
        share: Fraction to draw, in (0, 1).
        seed: The same seed draws the same rows.

    Returns:
        Row numbers, ascending.
    """
    order = np.random.default_rng(seed).permutation(count)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    wanted = max(1, round(count * share))
    # evenly spaced picks from rows that are sorted by class and shuffled within it
    picks = ((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)
    return np.sort(order[picks])


def classes_of(targets: Rows) -> NDArray[np.generic] | None:
    """Return the class of each row where targets are integer labels of classes that repeat, else ``None``."""
    if math.prod(targets.shape[1:]) != 1 or not np.issubdtype(targets.dtype, np.integer):
        return None
    labels: NDArray[np.generic] = targets[:].reshape(len(targets))
    return labels if len(np.unique(labels)) <= len(labels) // 2 else None
