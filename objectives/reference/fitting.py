"""Run the training steps of a stage with Keras' own ``fit``: seeded batches, a step budget, a deadline."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.rows import Rows
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.pipeline.distillation import Distillation, distillation_for
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.optimizers import build_optimizer, rate_schedule
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.pipeline.training_data import TrainingData, batch_indices


def fit(model: Any, data: TrainingData, task: StageTask, meter: Meter, callbacks: Sequence[Any] = ()) -> None:
    """Train ``model`` for the steps of a stage, on batches drawn by its seed.

    Raises:
        Infeasible: The loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """
    recipe = task.recipe
    model.compile(optimizer=build_optimizer(recipe, rate_schedule(recipe, task.steps)), loss=list(data.losses))
    distillation = distillation_for(recipe, data.teacher)
    taught: Sequence[Rows] = ()
    if distillation is not None and data.teacher is not None:
        distillation.decide(recipe)
        taught = data.teacher.answers(meter)
        model.train_step = _taught_step(model, distillation, len(data.targets))
    indices = batch_indices(data.samples, recipe.batch_size_for(data.samples), task.steps, task.seed)
    model.fit(
        _batches(data, indices, taught),
        epochs=1,
        steps_per_epoch=task.steps,
        verbose=0,
        callbacks=[*callbacks, _Watch(meter, task.stage)],
    )


def _taught_step(model: Any, distillation: Distillation, targets: int) -> Callable[[Any], dict[str, Any]]:
    """Return a step of training like Keras' own, with the teacher's answers behind so many targets."""

    def take(batch: Any) -> dict[str, Any]:
        inputs, truths, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = distillation.loss(model, truths[:targets], truths[targets:], outputs, sample_weight)
        model.optimizer.minimize(loss, model.trainable_variables, tape=tape)
        return {"loss": loss}

    return take


def _batches(data: TrainingData, indices: NDArray[np.int64], taught: Sequence[Rows]) -> Any:
    """Return a ``tf.data.Dataset`` in the order of ``indices``.

    An element is a batch of inputs, one of targets (with what is taught behind), and one of weights where there are
    some.
    """
    arrays = (*data.inputs, *data.targets, *taught, *(() if data.sample_weights is None else (data.sample_weights,)))
    types = [tf.as_dtype(array.dtype) for array in arrays]
    shapes = [(indices.shape[1], *array.shape[1:]) for array in arrays]
    ends = len(data.inputs), len(data.inputs) + len(data.targets) + len(taught)

    def gather(rows: Any) -> Any:
        found = tf.numpy_function(lambda chosen: [array[chosen] for array in arrays], [rows], types)
        for tensor, shape in zip(found, shapes, strict=True):
            tensor.set_shape(shape)
        return tuple(found[: ends[0]]), tuple(found[ends[0] : ends[1]]), *found[ends[1] :]

    return tf.data.Dataset.from_tensor_slices(indices).map(gather)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Count steps, stop at the limit, and refuse to go on with a loss that is no number."""

    def __init__(self, meter: Meter, stage: str) -> None:
        super().__init__()
        self._meter = meter
        self._stage = stage
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._meter.check()
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._meter.step_seconds += time.perf_counter() - self._began
        self._meter.count([float((logs or {}).get("loss", 0.0))], stage=self._stage, step=batch)


class AfterEachStep(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Call a function after every optimizer step."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self._action = action

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Call it."""
        self._action()
