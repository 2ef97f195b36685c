"""The optimizer of a stage and its learning rate."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.keras_door import keras, tf
from paretune.spaces.candidates.stage_recipes import StageRecipe
from paretune.spaces.errors import ConfigurationError


def build_optimizer(recipe: StageRecipe, rate: Any) -> Any:
    """Return a new Keras optimizer as the recipe names it.

    Args:
        recipe: Names it, and its arguments.
        rate: Its learning rate: a number, or a Keras schedule.

    Raises:
        ConfigurationError: It does not take these arguments.
    """
    kind = keras_optimizers()[recipe.optimizer.lower()]
    try:
        return kind(learning_rate=rate, **recipe.optimizer_arguments)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(
            f"The optimizer '{recipe.optimizer}' does not take these arguments: {reason}"
        ) from error


def keras_optimizers() -> dict[str, Any]:
    """Return Keras' optimizer classes by name in small letters."""
    base = keras.optimizers.Optimizer
    kinds = [kind for kind in vars(keras.optimizers).values() if isinstance(kind, type) and issubclass(kind, base)]
    return {kind.__name__.lower(): kind for kind in kinds if kind is not base}


def rate_schedule(recipe: StageRecipe, steps: int) -> Any:
    """Return the learning rate of a stage of so many steps: a number, or a Keras schedule."""
    if recipe.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    return recipe.learning_rate


def learning_rates(recipe: StageRecipe, steps: int) -> NDArray[np.float32]:
    """Return the learning rate of every step, shape (steps,): to the last bit what Keras computes at each."""
    return _learning_rates(recipe.schedule, recipe.learning_rate, steps)


@lru_cache(maxsize=64)
def _learning_rates(schedule: str, rate: float, steps: int) -> NDArray[np.float32]:
    at = rate_schedule(StageRecipe(schedule=schedule, learning_rate=rate), steps)
    if isinstance(at, float | int):
        return np.full(steps, at, np.float32)
    # one by one: on a vector of steps the cosine is another kernel, which rounds otherwise
    each = tf.function(lambda: tf.map_fn(at, tf.range(steps, dtype=tf.int64), fn_output_signature=tf.float32))
    return np.asarray(each(), np.float32)
