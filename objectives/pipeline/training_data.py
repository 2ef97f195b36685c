"""What every stage trains on, and in which order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.rows import Rows
from paretune.objectives.pipeline.teacher import Teacher


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What every stage trains on. Rows may lie on disk: only those of a few steps are read at a time.

    Attributes:
        inputs: Rows for each model input, shape (samples, ...).
        targets: Rows for each model output, shape (samples, ...).
        losses: One Keras loss per model output.
        sample_weights: Factor of each sample's loss, shape (samples, ...) such that it multiplies with the losses;
            ``None`` weighs all alike.
        teacher: The uncompressed model, for recipes with ``distillation``; ``None`` where none asks for it.
    """

    inputs: tuple[Rows, ...]
    targets: tuple[Rows, ...]
    losses: Sequence[Any]
    sample_weights: NDArray[np.float32] | None = None
    teacher: Teacher | None = None

    @property
    def samples(self) -> int:
        """Number of training samples."""
        return len(self.inputs[0])

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample, targets included."""
        return sum(int(array[:1].nbytes) for array in (*self.inputs, *self.targets)) + 4


def batch_indices(samples: int, batch_size: int, steps: int, seed: int) -> NDArray[np.int64]:
    """Return the samples of every step, shape (steps, batch_size): each epoch a permutation of its own."""
    generator = np.random.default_rng(seed)
    epochs = math.ceil(steps * batch_size / samples)
    order = np.concatenate([generator.permutation(samples) for _ in range(epochs)])
    return order[: steps * batch_size].reshape(steps, batch_size)
