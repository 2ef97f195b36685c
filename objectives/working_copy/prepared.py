"""The working copy of the user's model, made once and kept for every later process.

A model from ``module:function`` is often trained by that function; calling it again in every worker would cost minutes
and need not give the same weights. So its working copy is kept in the cache folder, addressed by the content of the
function's source. A missing, broken or unreadable entry is a miss.
"""

import contextlib
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paretune.objectives.cache_entries import read_entry, write_entry
from paretune.objectives.keras_door import keras
from paretune.objectives.loading.functions import is_function_reference
from paretune.objectives.loading.model_source import load_model, model_digest
from paretune.objectives.settings import EvaluatorSettings
from paretune.objectives.working_copy.rewrites import prepare_working_copy
from paretune.spaces.policies.policy import digest_of


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """The working copy of the user's model.

    Attributes:
        model: Functional float32 tf_keras model.
        notes: Safe rewrites that were applied, one sentence each.
        digest: SHA-256 of architecture and weights.
        trained_on: Digest of the data that it was trained on for the search; empty if it came as it is.
        training_steps: Optimizer steps of that training.
        training_seconds: Wall seconds of it.
    """

    model: Any
    notes: tuple[str, ...]
    digest: str
    trained_on: str = ""
    training_steps: int = 0
    training_seconds: float = 0.0


#: What an entry holds beside the model.
_HEADER = ("notes", "digest", "trained_on", "training_steps", "training_seconds")


def prepare_model(settings: EvaluatorSettings) -> PreparedModel:
    """Load the user's model and return its working copy, from the cache where it is known.

    Raises:
        ModelRefused: The model is unsafe, unreadable or of an unsupported kind.
        ConfigurationError: The function it is to come from does not exist or fails.
    """
    entry = _cache_entry(settings)
    if entry is not None:
        cached = read_prepared(entry)
        if cached is not None:
            return cached
    loaded = load_model(settings.model, beside=Path(settings.beside), trust=settings.trust_model)
    copy = prepare_working_copy(loaded)
    prepared = PreparedModel(copy.model, copy.notes, weights_digest(copy.model))
    if entry is not None:
        keep_prepared(entry, prepared)
    return prepared


def _cache_entry(settings: EvaluatorSettings) -> Path | None:
    if settings.cache_folder is None or not is_function_reference(settings.model):
        return None
    source = model_digest(settings.model, Path(settings.beside))
    # The number of threads changes the last bits of a convolution, and so what the function trains.
    key = digest_of([settings.model, source, settings.threads, dict(settings.versions())])
    return prepared_entry(settings.cache_folder, key)


def prepared_entry(cache_folder: str, key: str) -> Path:
    """Return where a working copy is kept that a digest stands for."""
    return Path(cache_folder) / "models" / f"{key[:32]}.zip"


def weights_digest(model: Any) -> str:
    """Return the SHA-256 of a tf_keras model's architecture and weights."""
    digest = hashlib.sha256(model.to_json().encode())
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def keep_prepared(entry: Path, prepared: PreparedModel) -> None:
    """Keep a working copy; a full disk or a read-only home costs the next process some time, not this one its run."""
    weights = io.BytesIO()
    np.savez(weights, *prepared.model.get_weights())
    header = {name: getattr(prepared, name) for name in _HEADER} | {"config": prepared.model.to_json()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model.json", json.dumps(header))
        archive.writestr("weights.npz", weights.getvalue())
    with contextlib.suppress(OSError):
        write_entry(entry, packed.getvalue())


def read_prepared(entry: Path) -> PreparedModel | None:
    """Return the working copy of an entry; ``None`` where it is missing, broken or unreadable."""
    contents = read_entry(entry)
    if contents is None:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            header = json.loads(archive.read("model.json"))
            arrays = np.load(io.BytesIO(archive.read("weights.npz")), allow_pickle=False)
            model = keras.models.model_from_json(header["config"])
            model.set_weights([arrays[name] for name in arrays.files])
            known = {name: header[name] for name in _HEADER}
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    prepared = PreparedModel(model, **known | {"notes": tuple(known["notes"])})
    return prepared if weights_digest(model) == prepared.digest else None
