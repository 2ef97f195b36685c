"""Evaluate candidates of all models that a hypermodel builds, each for its hyperparameters."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paretune.objectives.architectures.base_models import BaseModels
from paretune.objectives.architectures.hypermodel import Hypermodel
from paretune.objectives.keras_evaluator import KerasEvaluator
from paretune.objectives.measure.turnstile import Turnstile
from paretune.objectives.settings import EvaluatorSettings
from paretune.objectives.working_copy.prepared import PreparedModel
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.hyperspace import default_values, normal_values
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import values_of_model
from paretune.spaces.errors import Infeasible, LimitReached, ModelRefused, ParetuneError
from paretune.spaces.results.evaluator import FileExample, Inspection, ModelDescription, Split
from paretune.spaces.results.measurement import Measurement

#: Evaluators that are kept beside the default's: each holds compiled graphs and copies of its model.
_MOST_OTHERS = 3


@dataclass(frozen=True, slots=True)
class _Architecture:
    """One of the models.

    Attributes:
        values: Of its hyperparameters, in normal form.
        prepared: The model, and what its training took.
        evaluator: Evaluates candidates of it.
    """

    values: Mapping[str, Any]
    prepared: PreparedModel
    evaluator: KerasEvaluator


class ArchitectureEvaluator:
    """Implements :class:`paretune.spaces.results.evaluator.Evaluator` for the models of one hyperspace in this process.

    The model of the defaults is the baseline of all: latencies are ratios to its file.

    Args:
        settings: What to evaluate.
        hypermodel: Builds and trains the models.

    Raises:
        ParetuneError: The model of the defaults, or the data, cannot be used; one line says why.
    """

    def __init__(self, settings: EvaluatorSettings, hypermodel: Hypermodel) -> None:
        self._settings = settings
        folder = settings.turnstile_folder
        self._bases = BaseModels(settings, hypermodel, Turnstile(None if folder is None else Path(folder)))
        self._hyperspace = self._bases.hyperspace
        self._others: dict[tuple[Any, ...], _Architecture] = {}  # the one that was used last comes last
        values = default_values(self._hyperspace)
        try:
            prepared, data = self._bases.get(values)
        except Infeasible as error:
            raise ModelRefused(f"Model '{settings.model}': {error}") from error
        self._default = _Architecture(values, prepared, KerasEvaluator(settings, prepared, data))

    def describe(self, hyperparameters: Mapping[str, Any] | None = None) -> ModelDescription:
        """Return what is known about one of the models; it is built and trained, unless that was done before.

        Args:
            hyperparameters: Values of the hyperspace; ``None`` for the defaults.

        Raises:
            Infeasible: No model can be built and trained with these.
            ValueError: They are not of the hyperspace.
        """
        architecture = self._architecture(hyperparameters)
        description = architecture.evaluator.describe()
        return replace(
            description,
            fingerprint={**description.fingerprint, "hypermodel": self._bases.digest},
            hyperparameters=architecture.values,
            hyperspace=self._hyperspace,
        )

    def baseline(self) -> Measurement:
        """Convert and measure the uncompressed float32 model of the defaults, like any trial."""
        return self._default.evaluator.baseline()

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        """Train, export and measure one candidate on the validation split.

        Raises:
            Infeasible: The policy cannot be built or trained, or its model cannot be built as it was before.
            MeasurementFailed: The file was built but could not be measured.
            LimitReached: ``limit`` was spent first.
            ValueError: Its hyperparameters are not of the hyperspace.
        """
        started = time.monotonic()
        architecture = self._architecture(candidate.hyperparameters)
        if architecture.prepared.digest != candidate.architecture:
            raise Infeasible(
                f"the model with {_text(architecture.values)} came out with other weights than when the search first "
                "built it; its function must return the same model every time"
            )
        if limit.seconds is not None:
            left = limit.seconds - (time.monotonic() - started)
            if left <= 0:
                raise LimitReached(f"building the model took longer than {limit.seconds:.0f} s")
            limit = replace(limit, seconds=left)
        measurement = architecture.evaluator.evaluate(candidate, rung, limit)
        if not candidate.policy.is_untouched or rung is Rung.PROXY:
            return measurement
        return replace(
            measurement,
            training_steps=architecture.prepared.training_steps,
            seconds={"base": architecture.prepared.training_seconds, **measurement.seconds},
        )

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        """Measure the contents of an exported ``.tflite`` on a split; latency is left out.

        Raises:
            ValueError: The hyperparameters are not of the hyperspace.
        """
        return self._architecture(hyperparameters).evaluator.remeasure(model, split)

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        """Run the contents of an exported ``.tflite`` on the first samples of the test split.

        Raises:
            ValueError: The hyperparameters are not of the hyperspace.
        """
        return self._architecture(hyperparameters).evaluator.example(model)

    def inspect(self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None) -> Inspection:
        """Measure a file as :meth:`remeasure` does, and how sure that is.

        Raises:
            ValueError: The hyperparameters are not of the hyperspace.
        """
        return self._architecture(hyperparameters).evaluator.inspect(model, split)

    def _architecture(self, hyperparameters: Mapping[str, Any] | None) -> _Architecture:
        """Return one of the models, built and trained unless it is at hand."""
        values = self._default.values if hyperparameters is None else self._in_normal_form(hyperparameters)
        if values == self._default.values:
            return self._default
        key = tuple(values.values())
        architecture = self._others.pop(key, None)
        if architecture is None:
            while len(self._others) >= _MOST_OTHERS:
                del self._others[next(iter(self._others))]
            architecture = self._build(values)
        self._others[key] = architecture
        return architecture

    def _build(self, values: Mapping[str, Any]) -> _Architecture:
        try:
            prepared, data = self._bases.get(values)
            base = self._default.evaluator.baseline_file
            return _Architecture(values, prepared, KerasEvaluator(self._settings, prepared, data, latency_base=base))
        except ParetuneError as error:
            raise Infeasible(f"no model with {_text(values)}: {error}") from error

    def _in_normal_form(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        names = [each.name for each in self._hyperspace]
        hyperparameters = values_of_model(hyperparameters)
        if set(hyperparameters) != set(names):
            raise ValueError(f"hyperparameters must be {names}, got {sorted(hyperparameters)}")
        values = normal_values(self._hyperspace, hyperparameters)
        for each in self._hyperspace:
            if each.is_active(values):
                if values[each.name] not in each.choices:
                    raise ValueError(f"`{each.name}` must be one of {each.choices}, got {values[each.name]!r}")
                # 1 for 1.0, so that equal models have one entry in the cache
                values[each.name] = each.choices[each.choices.index(values[each.name])]
        return values


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
