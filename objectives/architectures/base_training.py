"""Train a base model: one that is built for its hyperparameters, before anything is compressed."""

import importlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretune.objectives.architectures.choices import choices_of
from paretune.objectives.architectures.hypermodel import Hypermodel, is_compiled, seed_everything
from paretune.objectives.data.dataset import Dataset, Samples
from paretune.objectives.data.rows import Rows
from paretune.objectives.keras3.bridge import is_keras_3_model
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.loading.functions import reason_of
from paretune.objectives.measure.turnstile import Turnstile
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.errors import Infeasible, ModelRefused, ParetuneError

_GIVEN_TWICE = re.compile(r"multiple values for keyword argument '(\w+)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedBase:
    """A base model, and what its training took.

    Attributes:
        model: A trained model of either Keras.
        declared: The hyperparameters that were declared and leave a choice, and what they were.
        training_steps: Optimizer steps.
        seconds: Wall seconds.
    """

    model: Any
    declared: Mapping[str, Any]
    training_steps: int
    seconds: float


def train_base(
    hypermodel: Hypermodel, values: Mapping[str, Any], data: Dataset, settings: EvaluatorSettings, turnstile: Turnstile
) -> TrainedBase:
    """Build the model of some values and train it; in the same way in any process.

    Args:
        hypermodel: Builds and trains it.
        values: Of the hyperparameters that matter.
        data: As this model takes it. What lies on the disk is read as a whole: a ``fit`` of the user's own may do
            anything with it.
        settings: How long, in which batches, and from which seed.
        turnstile: Entered for every batch.

    Raises:
        ModelRefused: The function raises, or its model is not compiled.
        Infeasible: Training raises, or gives weights that are not finite.
    """
    given_by_user: set[str] = set()
    while True:
        hyperparameters, model = hypermodel.build(values, settings.seed)
        if not is_compiled(model):
            raise ModelRefused("the function must return a compiled model: call model.compile(optimizer, loss) in it.")
        x, y = _as_taken(model, data.train)
        arguments = _arguments(hypermodel, model, data, settings)
        arguments = {name: value for name, value in arguments.items() if name not in given_by_user}
        seed_everything(settings.seed)
        started = time.monotonic()
        try:
            with _entering_by_batch(turnstile, model) as callback:
                hypermodel.fit(hyperparameters, model, x, y, callbacks=[callback], **arguments)
            break
        except (ParetuneError, MemoryError):
            raise
        except Exception as error:  # whatever Keras and the user's own fit raise
            twice = _GIVEN_TWICE.search(str(error))
            if twice is None or twice[1] not in arguments:
                raise Infeasible(_sentence_on(error)) from error
            given_by_user.add(twice[1])  # such as the batch size, as one of its hyperparameters
    seconds = time.monotonic() - started
    if not all(np.isfinite(array).all() for array in model.get_weights()):
        raise Infeasible("training gave weights that are not finite; lower the learning rate")
    steps = int(model.optimizer.iterations.numpy())
    return TrainedBase(model=model, declared=_declared(hyperparameters), training_steps=steps, seconds=seconds)


def _arguments(hypermodel: Hypermodel, model: Any, data: Dataset, settings: EvaluatorSettings) -> dict[str, Any]:
    """Return what ``fit`` is called with beside the training data."""
    arguments: dict[str, Any] = {"epochs": settings.base_epochs, "batch_size": settings.base_batch_size, "verbose": 0}
    weights = data.train.weights
    if weights is not None:
        # one axis for each of a loss, which Keras would else multiply with them as it likes
        axes = max(len(tensor.shape) for tensor in model.outputs) - 1
        arguments["sample_weight"] = weights.reshape(len(weights), *(1,) * (axes - 1))
    if hypermodel.trains_in_its_own_way:  # what it can count on with Keras Tuner
        arguments["validation_data"] = _as_taken(model, data.validation)
    return arguments


def _as_taken(model: Any, samples: Samples) -> tuple[Any, Any]:
    """Return inputs and targets in the structure that a model of either Keras takes."""
    return (
        _structured(getattr(model, "input", None), model.inputs, samples.inputs),
        _structured(getattr(model, "output", None), model.outputs, samples.targets),
    )


def _structured(structure: Any, tensors: Sequence[Any], arrays: Sequence[Rows]) -> Any:
    read = [array[:] for array in arrays]
    if isinstance(structure, dict):
        return {
            name: array
            for name, wanted in structure.items()
            for tensor, array in zip(tensors, read, strict=True)
            if tensor is wanted
        }
    return read[0] if len(read) == 1 else read


@contextmanager
def _entering_by_batch(turnstile: Turnstile, model: Any) -> Iterator[Any]:
    """Give a callback for the Keras of ``model`` that enters the turnstile for every batch."""
    library = importlib.import_module("keras") if is_keras_3_model(model) else keras
    with ExitStack() as inside:
        hooks: dict[str, Any] = {}
        for kind in ("train", "test"):
            hooks[f"on_{kind}_batch_begin"] = lambda batch, logs=None: inside.enter_context(turnstile.working())
            hooks[f"on_{kind}_batch_end"] = lambda batch, logs=None: inside.close()
        yield library.callbacks.LambdaCallback(**hooks)


def _declared(hyperparameters: Any) -> dict[str, Any]:
    values = hyperparameters.values  # of those that matter
    return {
        each.name: values[each.name]
        for each in hyperparameters.space
        if len(choices_of(each)) > 1 and each.name in values
    }


def _sentence_on(error: Exception) -> str:
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return f"training ran out of memory; lower base_batch_size ({reason_of(error)})"
    return f"training raised {type(error).__name__}: {reason_of(error)}"
