"""The user's model, from wherever it comes: a function, a file of either Keras, a SavedModel's folder."""

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paretune.objectives.loading.functions import (
    function_digest,
    is_function_reference,
    refused_if_it_raises,
    resolve_function,
)
from paretune.objectives.loading.model_file import read_model_file
from paretune.spaces.errors import ModelRefused

_CHUNK_BYTES = 2**20


def load_model(reference: str, *, beside: Path, trust: bool) -> Any:
    """Load a model as a float32 tf_keras model, functional or Sequential; whether it is compiled does not matter.

    Args:
        reference: ``module:function``, a ``.keras`` or ``.h5`` file of tf_keras or Keras 3, or the folder of a
            SavedModel made by tf_keras. The function is called without arguments, after the random generators are
            seeded, and returns a model of either Keras.
        beside: Folder of the experiment file; relative paths and modules are looked up there.
        trust: Load files that may run code.

    Raises:
        ConfigurationError: A named function cannot be found or imported.
        ModelRefused: The model is missing, unsafe, unreadable, of an unsupported kind, or cannot be taken over.
    """
    # TensorFlow starts only here, so that digests and checks of a file do without it.
    from paretune.objectives.keras3.file import load_keras_3
    from paretune.objectives.loading.keras_reader import read_with_tf_keras

    with refusals_named(reference):
        if is_function_reference(reference):
            model = _built(reference, beside)
        else:
            file = read_model_file(beside / reference, trust=trust)
            model = load_keras_3(file.path, trust=trust) if file.is_keras_3 else read_with_tf_keras(file, trust=trust)
        return take_over(model)


def take_over(model: Any) -> Any:
    """Return a model of either Keras as a float32 tf_keras model, functional or Sequential.

    Raises:
        ModelRefused: It is no model, is of an unsupported kind, or cannot be taken over.
    """
    from paretune.objectives.keras3.bridge import bridge, is_keras_3_model
    from paretune.objectives.loading.keras_reader import as_float32, plain_model

    return as_float32(plain_model(bridge(model) if is_keras_3_model(model) else model))


@contextmanager
def refusals_named(reference: str) -> Iterator[None]:
    """Let every refusal name the model.

    Raises:
        ModelRefused: One that was raised inside.
    """
    try:
        yield
    except ModelRefused as refusal:
        text = str(refusal)
        raise ModelRefused(text if reference in text else f"Model '{reference}': {text}") from refusal.__cause__


def model_digest(reference: str, beside: Path) -> str:
    """Return a SHA-256 that changes when the model may have changed, without loading it.

    It covers the content of the file, names and contents of a folder's files, or the source of the function.

    Raises:
        ConfigurationError: The function's source is not found.
        ModelRefused: The file does not exist or cannot be read.
    """
    if is_function_reference(reference):
        return function_digest(reference, beside)
    path = beside / reference
    if not path.exists():
        raise ModelRefused(f"Model '{path}': does not exist.")
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if file != path:
            digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _built(reference: str, beside: Path) -> Any:
    from paretune.objectives.keras_door import keras

    function = resolve_function(reference, beside)
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ModelRefused(
            f"the function must be callable without arguments, or with hyperparameters alone ({error})."
        ) from error
    except ValueError:  # a builtin without a signature: calling it will tell
        pass
    keras.utils.set_random_seed(0)  # so that untrained weights are the same in every process
    with refused_if_it_raises("the function"):
        return function()
