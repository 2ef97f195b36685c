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
from paretune.objectives.rewrites import prepare_working_copy
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.policy import digest_of


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """The working copy of the user's model.

    Attributes:
        model: Functional float32 tf_keras model.
        notes: Safe rewrites that were applied, one sentence each.
        digest: SHA-256 of architecture and weights.
    """

    model: Any
    notes: tuple[str, ...]
    digest: str


def prepare_model(settings: EvaluatorSettings) -> PreparedModel:
    """Load the user's model and return its working copy, from the cache where it is known.

    Raises:
        ModelRefused: The model is unsafe, unreadable or of an unsupported kind.
        ConfigurationError: The function it is to come from does not exist or fails.
    """
    entry = _cache_entry(settings)
    if entry is not None:
        cached = _read(entry)
        if cached is not None:
            return cached
    loaded = load_model(settings.model, beside=Path(settings.beside), trust=settings.trust_model)
    copy = prepare_working_copy(loaded)
    prepared = PreparedModel(copy.model, tuple(copy.notes), _digest(copy.model))
    if entry is not None:
        # A full disk or a read-only home costs the next process some time, not this one its run.
        with contextlib.suppress(OSError):
            _write(entry, prepared)
    return prepared


def _cache_entry(settings: EvaluatorSettings) -> Path | None:
    if settings.cache_folder is None or not is_function_reference(settings.model):
        return None
    source = model_digest(settings.model, Path(settings.beside))
    # The number of threads changes the last bits of a convolution, and so what the function trains.
    key = digest_of([settings.model, source, settings.threads, dict(settings.versions())])
    return Path(settings.cache_folder) / "models" / f"{key[:32]}.zip"


def _digest(model: Any) -> str:
    digest = hashlib.sha256(model.to_json().encode())
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write(entry: Path, prepared: PreparedModel) -> None:
    weights = io.BytesIO()
    np.savez(weights, *prepared.model.get_weights())
    header = {"config": prepared.model.to_json(), "notes": prepared.notes, "digest": prepared.digest}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model.json", json.dumps(header))
        archive.writestr("weights.npz", weights.getvalue())
    write_entry(entry, packed.getvalue())


def _read(entry: Path) -> PreparedModel | None:
    contents = read_entry(entry)
    if contents is None:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            header = json.loads(archive.read("model.json"))
            arrays = np.load(io.BytesIO(archive.read("weights.npz")), allow_pickle=False)
            model = keras.models.model_from_json(header["config"])
            model.set_weights([arrays[name] for name in arrays.files])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    prepared = PreparedModel(model, tuple(header["notes"]), header["digest"])
    return prepared if _digest(model) == prepared.digest else None
