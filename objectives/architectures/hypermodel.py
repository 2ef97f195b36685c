"""Models that are built for the search: a ``build(hp)`` function of the user's, or a ``keras_tuner.HyperModel``.

Keras Tuner is imported only where one is built: it brings Keras 3 along. What it builds is a model of either Keras.
"""

import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.objectives.keras_door import keras
from paretune.objectives.loading.functions import is_function_reference, refused_if_it_raises, resolve_named
from paretune.objectives.loading.model_source import refusals_named

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Hypermodel:
    """What builds a model for given hyperparameters, and trains it.

    Attributes:
        reference: How the experiment names it.
        named: The function, or an instance of ``keras_tuner.HyperModel``.
    """

    reference: str
    named: Any

    def build(self, values: Mapping[str, Any], seed: int) -> tuple[Any, Any]:
        """Build the model of some values; the same values and seed give the same weights and names in any process.

        Args:
            values: Of the hyperparameters that matter; all others keep the default that they are declared with.
            seed: Of every random draw.

        Returns:
            The ``keras_tuner.HyperParameters`` that were declared meanwhile, and the model, as it was built.

        Raises:
            ModelRefused: The function raised; one line says what.
        """
        from keras_tuner import HyperParameters

        hyperparameters = HyperParameters()
        hyperparameters.values = dict(values)
        tuned = self._tuned()
        reset_names()
        seed_everything(seed)
        with refused_if_it_raises("the function"):
            tuned.declare_hyperparameters(hyperparameters)
            return hyperparameters, tuned.build(hyperparameters)

    @property
    def trains_in_its_own_way(self) -> bool:
        """Whether it has a ``fit`` of its own instead of the model's."""
        from keras_tuner import HyperModel

        return type(self._tuned()).fit is not HyperModel.fit

    def fit(self, hyperparameters: Any, model: Any, *data: Any, **arguments: Any) -> None:
        """Train a model that it built; raises whatever Keras and the user's own code raise."""
        self._tuned().fit(hyperparameters, model, *data, **arguments)

    def _tuned(self) -> Any:
        from keras_tuner import HyperModel

        if isinstance(self.named, HyperModel):
            return self.named
        around = HyperModel()  # its `fit` is the model's
        around.build = self.named
        return around


def find_hypermodel(reference: str, beside: Path) -> Hypermodel | None:
    """Return what builds the model of an experiment from hyperparameters; ``None`` if it names one model.

    It is a function with exactly one argument that must be given, ``build(hp)``, a subclass of
    ``keras_tuner.HyperModel`` whose instances need no arguments, or an instance of one.

    Raises:
        ConfigurationError: A named function cannot be found or imported.
        ModelRefused: The class needs arguments, or raises.
    """
    if not is_function_reference(reference):
        return None
    named = resolve_named(reference, beside)
    # Only a module that imports Keras Tuner can have made one of its objects.
    tuner = sys.modules.get("keras_tuner")
    if tuner is not None and isinstance(named, type) and issubclass(named, tuner.HyperModel):
        with refusals_named(reference), refused_if_it_raises("the class, called without arguments,"):
            return Hypermodel(reference, named())
    if (tuner is not None and isinstance(named, tuner.HyperModel)) or _takes_hyperparameters(named):
        return Hypermodel(reference, named)
    return None


def is_compiled(model: Any) -> bool:
    """Say whether a model of either Keras knows how to train itself."""
    return getattr(model, "optimizer", None) is not None


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy, TensorFlow and both Kerases."""
    keras.utils.set_random_seed(seed)
    importlib.import_module("keras").utils.set_random_seed(seed)


def reset_names() -> None:
    """Let both Kerases number the layers that have no name from the start, whatever was built before."""
    keras.backend.reset_uids()
    importlib.import_module("keras.src.utils.naming").reset_uids()


def _takes_hyperparameters(named: Any) -> bool:
    if not callable(named) or isinstance(named, type):
        return False
    try:
        parameters = inspect.signature(named).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    required = [each for each in parameters if each.default is each.empty and each.kind not in _VARIADIC]
    return len(required) == 1 and required[0].kind in _POSITIONAL
