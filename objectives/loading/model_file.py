"""A model file as data: which of the formats it is, who wrote it, and its configuration."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

from paretune.objectives.loading.known_classes import MODELS
from paretune.objectives.loading.safety import (
    MAX_CONFIG_BYTES,
    check_config,
    check_hdf5,
    check_zip_members,
    check_zip_size,
)
from paretune.spaces.errors import ModelRefused


class Format(StrEnum):
    """How a model is stored."""

    KERAS = ".keras"
    HDF5 = ".h5"
    SAVED_MODEL = "SavedModel"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file, or a SavedModel's folder, whose content may be handed to Keras.

    Attributes:
        path: Where it is.
        format: How it is stored.
        keras_version: Version of the Keras that wrote it, such as ``3.15.1``; empty when it is not recorded.
        config: The model's configuration: ``class_name`` and ``config``.
    """

    path: Path
    format: Format
    keras_version: str
    config: dict[str, Any]

    @property
    def is_keras_3(self) -> bool:
        """Whether Keras 3 wrote the file, so that tf_keras cannot read it."""
        major = self.keras_version.partition(".")[0]
        return major.isdigit() and int(major) >= 3


def read_model_file(path: Path, *, trust: bool) -> ModelFile:
    """Read what a model file says about itself, and check that loading it runs no foreign code.

    Args:
        path: A ``.keras`` or ``.h5`` file, or a SavedModel's folder.
        trust: Leave out the checks: the user answers for the file.

    Raises:
        ModelRefused: It is missing, unreadable, of another kind, or unsafe.
    """
    try:
        if path.is_dir():
            file = _read_saved_model(path)
        elif not path.exists():
            raise ModelRefused("does not exist: give a `.keras` or `.h5` file, a SavedModel folder or module:function.")
        elif path.suffix == ".keras":
            file = _read_keras(path, trust=trust)
        elif path.suffix in (".h5", ".hdf5"):
            file = _read_hdf5(path, trust=trust)
        else:
            raise ModelRefused(
                "must end in `.keras` or `.h5`, be a SavedModel folder or have the form module:function."
            )
        _check_model(file.config, trust=trust)
    except ModelRefused as refusal:
        raise ModelRefused(f"Model '{path}': {refusal}") from None
    except OSError as error:
        raise ModelRefused(f"Model '{path}': cannot be read: {error.strerror or error}.") from error
    return file


def _check_model(config: dict[str, Any], *, trust: bool) -> None:
    if config.get("class_name") not in MODELS:
        raise ModelRefused(
            f"is a subclassed model ('{config.get('class_name')}'), whose layers cannot be compressed one by "
            "one: write it as a functional model, keras.Model(inputs, outputs)."
        )
    if not trust:
        check_config(config)


def _read_keras(path: Path, *, trust: bool) -> ModelFile:
    if not is_zipfile(path):
        other = " It is an HDF5 file: rename it to `.h5`." if _starts_with(path, b"\x89HDF\r\n\x1a\n") else ""
        raise ModelRefused(f"must be a zip archive and is none or is cut short.{other}")
    try:
        with ZipFile(path) as archive:
            if not trust:
                check_zip_size(archive, path.stat().st_size)
            if "config.json" not in archive.namelist() or "metadata.json" not in archive.namelist():
                raise ModelRefused("has no `config.json` or no `metadata.json`: save the model with model.save().")
            if "model.weights.h5" not in archive.namelist():
                raise ModelRefused("has no `model.weights.h5`: save the model with model.save().")
            config = _parse(_read_member(archive, "config.json"))
            _check_model(config, trust=trust)  # first: a layer can be named, what it adds to the archive cannot
            if not trust:
                check_zip_members(archive)
            metadata = _parse(_read_member(archive, "metadata.json"))
            if not trust:
                with archive.open("model.weights.h5") as weights, _open_hdf5(io.BytesIO(weights.read())) as file:
                    check_hdf5(file, path.stat().st_size)
    except (BadZipFile, EOFError) as error:
        raise ModelRefused(f"is damaged: {error}.") from error
    return ModelFile(
        path=path, format=Format.KERAS, keras_version=str(metadata.get("keras_version", "")), config=config
    )


def _read_hdf5(path: Path, *, trust: bool) -> ModelFile:
    if _starts_with(path, b"PK\x03\x04"):
        raise ModelRefused("is a zip archive: rename it to `.keras`.")
    with _open_hdf5(path) as file:
        if not trust:
            check_hdf5(file, path.stat().st_size)
        if "model_config" not in file.attrs:
            raise ModelRefused("holds weights without a model: save the whole model with model.save().")
        raw = file.attrs["model_config"]
        config = _parse(raw if isinstance(raw, bytes) else str(raw).encode())
        version = file.attrs.get("keras_version", "")
    return ModelFile(
        path=path,
        format=Format.HDF5,
        keras_version=version.decode() if isinstance(version, bytes) else str(version),
        config=config,
    )


def _read_saved_model(path: Path) -> ModelFile:
    if not (path / "saved_model.pb").is_file():
        raise ModelRefused("is a folder without `saved_model.pb`: give a SavedModel, a `.keras` or a `.h5` file.")
    metadata = path / "keras_metadata.pb"
    if not metadata.is_file():
        raise ModelRefused(
            "is a SavedModel without Keras layers (no `keras_metadata.pb`): save the model with model.save('m.keras')."
        )
    if not (path / "variables" / "variables.index").is_file():
        raise ModelRefused("has no `variables` folder: the SavedModel is incomplete.")
    if metadata.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelRefused(f"`keras_metadata.pb` is larger than {MAX_CONFIG_BYTES >> 20} MiB.")
    config = _parse(_root_metadata(metadata.read_bytes()))
    version = config.get("keras_version", "")
    known = {key: config.get(key) for key in ("class_name", "config")}
    return ModelFile(path=path, format=Format.SAVED_MODEL, keras_version=str(version), config=known)


def _root_metadata(content: bytes) -> bytes:
    """Return the JSON that describes the model itself."""
    from paretune.objectives.keras_door import keras  # the one format that TensorFlow is needed to look into

    try:
        nodes = keras.protobuf.saved_metadata_pb2.SavedMetadata.FromString(content).nodes
    except Exception as error:  # protobuf's DecodeError, whose package has no types
        raise ModelRefused(f"`keras_metadata.pb` is damaged: {error}.") from error
    for node in nodes:
        if node.node_path == "root":
            text: str = node.metadata
            return text.encode()
    raise ModelRefused("`keras_metadata.pb` describes no model.")


def _starts_with(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


@contextmanager
def _open_hdf5(source: Path | io.BytesIO) -> Iterator[Any]:
    import h5py

    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise ModelRefused(f"must be an HDF5 file and is none or is cut short ({error}).") from error
    with file:
        yield file


def _read_member(archive: ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_CONFIG_BYTES:
        raise ModelRefused(f"`{name}` is larger than {MAX_CONFIG_BYTES >> 20} MiB.")
    return archive.read(name)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelRefused(f"its configuration is no JSON: {error}.") from error
    if not isinstance(document, dict):
        raise ModelRefused("its configuration must be a JSON object.")
    return document
