"""Base models that are built for the search: each is trained once, and kept for every later process."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paretune.objectives.architectures.base_training import train_base
from paretune.objectives.architectures.hypermodel import Hypermodel
from paretune.objectives.architectures.hyperspace import declare_hyperspace
from paretune.objectives.data.dataset import Dataset, dataset_digest, load_dataset
from paretune.objectives.data.signature import Signature, signature_of
from paretune.objectives.loading.functions import function_digest
from paretune.objectives.loading.model_source import refusals_named, take_over
from paretune.objectives.measure.turnstile import Turnstile
from paretune.objectives.settings import EvaluatorSettings
from paretune.objectives.working_copy.prepared import (
    PreparedModel,
    keep_prepared,
    prepared_entry,
    read_prepared,
    weights_digest,
)
from paretune.objectives.working_copy.rewrites import WorkingCopy, prepare_working_copy
from paretune.spaces.candidates.hyperspace import Hyperparameter
from paretune.spaces.policies.policy import digest_of


class BaseModels:
    """The base models of one hypermodel.

    Args:
        settings: What they are trained on, and how.
        hypermodel: Builds and trains them.
        turnstile: Entered for every batch of a training.

    Attributes:
        hyperspace: The hyperparameters that they are built with.
        digest: SHA-256 that changes when another base model may come of the same values.

    Raises:
        ModelRefused: The hyperparameters cannot be told; one line says why.
    """

    def __init__(self, settings: EvaluatorSettings, hypermodel: Hypermodel, turnstile: Turnstile) -> None:
        self._settings = settings
        self._hypermodel = hypermodel
        self._turnstile = turnstile
        self._data = _DataOfModels(settings)
        self.hyperspace: tuple[Hyperparameter, ...] = declare_hyperspace(hypermodel)
        source = function_digest(hypermodel.reference, Path(settings.beside))
        self.digest = digest_of(
            # Keras 3 trains the models that are written with it
            [source, settings.base_epochs, settings.base_batch_size, settings.seed, version("keras")]
        )

    def get(self, values: Mapping[str, Any]) -> tuple[PreparedModel, Dataset]:
        """Return the working copy of a trained base model, and the data as it takes it.

        Args:
            values: Of the hyperspace, in normal form.

        Raises:
            ModelRefused: The model cannot be built, or is of an unsupported kind.
            DataError: The data does not fit it.
            Infeasible: It cannot be trained.
        """
        entry = self._entry(values)
        if entry is not None:
            kept = read_prepared(entry)
            if kept is not None:
                data, digest = self._data.fit(kept.model)
                if kept.trained_on == digest:
                    return kept, data
        prepared, data = self._train(values)
        if entry is not None:
            keep_prepared(entry, prepared)
        return prepared, data

    def _entry(self, values: Mapping[str, Any]) -> Path | None:
        settings = self._settings
        if settings.cache_folder is None:
            return None
        # The digest of the data stands in the entry: in which shape a model takes it, the model alone can tell.
        key = [settings.model, self.digest, dict(values), settings.data, settings.threads, dict(settings.versions())]
        return prepared_entry(settings.cache_folder, digest_of(key))

    def _train(self, values: Mapping[str, Any]) -> tuple[PreparedModel, Dataset]:
        active = {each.name: values[each.name] for each in self.hyperspace if each.is_active(values)}
        with refusals_named(self._hypermodel.reference):
            _, untrained = self._hypermodel.build(active, self._settings.seed)
            data, digest = self._data.fit(_working_copy(untrained).model)
            # built anew: taking over a model of Keras 3 changes the types of its layers
            trained = train_base(self._hypermodel, active, data, self._settings, self._turnstile)
            copy = _working_copy(trained.model)
        notes = [
            f"Hyperparameter '{name}' was first met when this model was built or trained, so it keeps its default, "
            f"{value!r}; declare it at the top of the function to have it searched."
            for name, value in trained.declared.items()
            if name not in values
        ]
        return (
            PreparedModel(
                copy.model,
                (*copy.notes, *notes),
                weights_digest(copy.model),
                trained_on=digest,
                training_steps=trained.training_steps,
                training_seconds=trained.seconds,
            ),
            data,
        )


def _working_copy(model: Any) -> WorkingCopy:
    return prepare_working_copy(take_over(model))


class _DataOfModels:
    """The data as models take it; those that take the same share the arrays."""

    def __init__(self, settings: EvaluatorSettings) -> None:
        self._settings = settings
        self._known: dict[Signature, tuple[Dataset, str]] = {}

    def fit(self, model: Any) -> tuple[Dataset, str]:
        """Return the data that fits a working copy, and its digest.

        Raises:
            DataError: It is missing, malformed or does not fit.
        """
        settings, signature = self._settings, signature_of(model)
        if signature not in self._known:
            data = load_dataset(settings.data, beside=Path(settings.beside), model=model, seed=settings.seed)
            digest = dataset_digest(data)
            same = next((known for known in self._known.values() if known[1] == digest), None)
            self._known[signature] = same or (data, digest)
        return self._known[signature]
