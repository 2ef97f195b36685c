"""Run the training steps of a stage: seeded batches, a step budget, a deadline."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.keras_door import keras, tf
from paretune.spaces.errors import Infeasible, LimitReached
from paretune.spaces.recipe import Limit, StageRecipe


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What every stage trains on.

    Attributes:
        inputs: One array per model input, shape (samples, ...).
        targets: One array per model output, shape (samples, ...).
        losses: One Keras loss per model output.
    """

    inputs: tuple[NDArray[Any], ...]
    targets: tuple[NDArray[Any], ...]
    losses: Sequence[Any]

    @property
    def samples(self) -> int:
        """Number of training samples."""
        return len(self.inputs[0])


@dataclass(slots=True)
class Meter:
    """What one evaluation has spent so far, held against its limit.

    Attributes:
        limit: When to stop.
        training_steps: Optimizer steps taken.
        started: Monotonic seconds at the start.
    """

    limit: Limit
    training_steps: int = 0
    started: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise once the limit is spent.

        Raises:
            LimitReached: Says which limit.
        """
        seconds, steps = self.limit.seconds, self.limit.training_steps
        if seconds is not None and time.monotonic() - self.started > seconds:
            raise LimitReached(f"took longer than {seconds:.0f} s ({self.training_steps} training steps done)")
        if steps is not None and self.training_steps >= steps:
            raise LimitReached(f"needed more than {steps} training steps")


def fit(
    model: Any,
    data: TrainingData,
    recipe: StageRecipe,
    *,
    steps: int,
    seed: int,
    meter: Meter,
    stage: str,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train ``model`` for ``steps`` optimizer steps of Adam on batches drawn by ``seed``.

    Raises:
        Infeasible: The loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """
    schedule = (
        keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
        if recipe.schedule == "cosine"
        else recipe.learning_rate
    )
    model.compile(optimizer=keras.optimizers.Adam(schedule), loss=list(data.losses))
    model.fit(
        _batches(data, _batch_indices(data.samples, recipe.batch_size_for(data.samples), steps, seed)),
        epochs=1,
        steps_per_epoch=steps,
        verbose=0,
        callbacks=[*callbacks, _Watch(meter, stage)],
    )


def _batch_indices(samples: int, batch_size: int, steps: int, seed: int) -> NDArray[np.int64]:
    """Return the samples of every step, shape (steps, batch_size): each epoch a permutation of its own."""
    generator = np.random.default_rng(seed)
    epochs = math.ceil(steps * batch_size / samples)
    order = np.concatenate([generator.permutation(samples) for _ in range(epochs)])
    return order[: steps * batch_size].reshape(steps, batch_size)


def _batches(data: TrainingData, indices: NDArray[np.int64]) -> Any:
    """Return a ``tf.data.Dataset`` of (inputs, targets) in the order of ``indices``."""
    inputs = tuple(tf.constant(array) for array in data.inputs)
    targets = tuple(tf.constant(array) for array in data.targets)

    def gather(rows: Any) -> Any:
        return tuple(tf.gather(array, rows) for array in inputs), tuple(tf.gather(array, rows) for array in targets)

    return tf.data.Dataset.from_tensor_slices(indices).map(gather)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Count steps, stop at the limit, and refuse to go on with a loss that is no number."""

    def __init__(self, meter: Meter, stage: str) -> None:
        super().__init__()
        self._meter = meter
        self._stage = stage

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._meter.check()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._meter.training_steps += 1
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise Infeasible(
                f"the loss became {loss} in stage '{self._stage}' at step {batch + 1}; lower its learning_rate"
            )


class AfterEachStep(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Call a function after every optimizer step."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self._action = action

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call it."""
        self._action()
