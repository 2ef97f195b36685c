"""What a model file may contain before Keras is allowed to see it.

Keras turns names of a model's configuration into Python objects, and some of them carry code: in tf_keras 2.21 even
``load_model("m.h5", safe_mode=True)`` runs a Lambda layer (in Keras 3 this was CVE-2025-9905). So the configuration is
compared with a list of what is known to be harmless; nothing is deserialized here but JSON.
"""

import math
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from zipfile import ZipFile

from paretune.objectives.loading.known_classes import (
    KNOWN_CLASSES,
    KNOWN_NAMES,
    NEEDS_STRINGS_OR_TABLES,
    OPERATIONS,
    QUANTIZED_POLICIES,
    TENSORFLOW_CALLS,
    TENSORFLOW_FUNCTIONS,
)
from paretune.spaces.errors import ModelRefused

#: A ``.tflite`` file ends at 2 GiB, so no useful model is larger in float32 with room for its optimizer's slots.
MAX_CONTENT_BYTES = 8 * 2**30
MAX_CONFIG_BYTES = 256 * 2**20

#: Weights hardly compress (pruned ones about 20 times); what expands further is a trap. Small content may.
_MAX_EXPANSION = 200
_ALWAYS_FINE_BYTES = 64 * 2**20

_ZIP_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
_TRUST = "Pass --trust-model (trust_model=True) if you wrote this file."
_RUNS_CODE = frozenset({"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
_CODE_KEYS = frozenset({"bytecode", "py_code", "function_type", "output_shape_type", "node_def"})


def check_config(config: Any) -> None:
    """Refuse a model's configuration that names anything but known, harmless parts of Keras.

    Args:
        config: The parsed JSON: an object with ``class_name`` and ``config``. A ``compile_config`` at its top is not
            looked at, because models are loaded uncompiled.

    Raises:
        ModelRefused: Names the innermost layer and what is wrong with it.
    """
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict | list):
        raise ModelRefused("The model's configuration must be a JSON object with `class_name` and `config`.")
    stack: list[tuple[Any, str]] = [
        ({key: value for key, value in config.items() if key != "compile_config"}, "The model")
    ]
    while stack:  # not recursive: depth is the file author's choice
        value, owner = stack.pop()
        if isinstance(value, dict):
            owner = _owner(value, owner)
            _check_object(value, owner)
            stack.extend((child, owner) for child in reversed(value.values()) if isinstance(child, dict | list))
        else:
            stack.extend((child, owner) for child in reversed(value) if isinstance(child, dict | list))


def check_zip_size(archive: ZipFile, file_bytes: int) -> None:
    """Refuse an archive that expands beyond all measure.

    Args:
        archive: A ``.keras`` file opened for reading.
        file_bytes: Its size on disk.

    Raises:
        ModelRefused: It does.
    """
    _check_expansion(sum(member.file_size for member in archive.infolist()), file_bytes)


def check_zip_members(archive: ZipFile) -> None:
    """Refuse an archive whose members are not those of a Keras file.

    Args:
        archive: A ``.keras`` file opened for reading.

    Raises:
        ModelRefused: Names the member.
    """
    seen: set[str] = set()
    for member in archive.infolist():
        name = member.filename
        windows = PureWindowsPath(name)
        if windows.anchor or name.startswith("/") or ".." in (*windows.parts, *PurePosixPath(name).parts):
            raise ModelRefused(f"The archive's member '{name}' points outside of the archive. {_TRUST}")
        if name in seen:
            raise ModelRefused(f"The archive holds two members named '{name}'. {_TRUST}")
        if name not in _ZIP_MEMBERS and not name.endswith("/"):
            raise ModelRefused(
                f"The archive's member '{name}' is none of {', '.join(_ZIP_MEMBERS)}, which make a Keras file. {_TRUST}"
            )
        seen.add(name)


def check_hdf5(file: Any, file_bytes: int) -> None:
    """Refuse an HDF5 file that reaches into other files, or declares data beyond all measure.

    Args:
        file: An open ``h5py.File``.
        file_bytes: Its size on disk.

    Raises:
        ModelRefused: Names the link or data set.
    """
    _check_expansion(sum(_dataset_bytes(name, dataset) for name, dataset in _datasets(file)), file_bytes)


def without_lookups(owner: str, kind: str) -> str:
    """Return the refusal of a layer that needs strings or tables."""
    return (
        f"{owner} ({kind}) reads text or looks values up in a table, which is not carried into a `.tflite`: save the "
        "model that comes after it, and give its numbers as the data."
    )


def not_yet_quantized(owner: str, kind: str = "") -> str:
    """Return the refusal of a layer that ``model.quantize()`` has been at."""
    shown = f" ({kind})" if kind else ""
    return (
        f"{owner}{shown} is quantized by Keras already, and what was rounded away cannot be searched: save the model "
        "before model.quantize(), number formats are tried here."
    )


def _owner(value: dict[str, Any], owner: str) -> str:
    """Return how to name the layer an object belongs to; initializers and the like belong to the layer around."""
    inner = value.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    name = name if isinstance(name, str) else value.get("name")
    is_part = not isinstance(value.get("class_name"), str) or "Policy" in value["class_name"]
    return owner if is_part or not isinstance(name, str) else f"Layer '{name}'"


def _check_object(value: dict[str, Any], owner: str) -> None:
    if "class_name" in value:
        _check_class(value, owner)
    found = _CODE_KEYS.intersection(value)
    if found:
        raise ModelRefused(f"{owner} runs code when the model is loaded (`{min(found)}`). {_TRUST}")
    for key, name in value.items():
        known = next((names for ending, names in KNOWN_NAMES.items() if key.endswith(ending)), None)
        if known is not None and isinstance(name, str) and name not in known:
            raise ModelRefused(f"{owner} uses `{key}: {name}`, which Keras does not have built in. {_TRUST}")


def _check_class(value: dict[str, Any], owner: str) -> None:
    class_name, module = value["class_name"], value.get("module")
    registered = value.get("registered_name")
    if class_name == "function":
        raise ModelRefused(f"{owner} needs the function '{value.get('config')}', which comes from elsewhere. {_TRUST}")
    if not isinstance(class_name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        raise ModelRefused(f"{owner} has a `class_name`, `module` or `registered_name` that is no text. {_TRUST}")
    if class_name in _RUNS_CODE:
        raise ModelRefused(f"{owner} runs code when the model is loaded. {_TRUST}")
    if class_name in NEEDS_STRINGS_OR_TABLES:
        raise ModelRefused(without_lookups(owner, class_name))
    if class_name in QUANTIZED_POLICIES or class_name.endswith("QuantizationConfig"):
        raise ModelRefused(not_yet_quantized(owner))
    is_known = class_name in KNOWN_CLASSES or (
        class_name in OPERATIONS and (not module or module.startswith("keras.src.ops."))
    )
    if not is_known or not _is_keras_module(module) or registered not in (None, "", class_name):
        origin = f" of '{module}'" if module else ""
        called = registered or class_name
        raise ModelRefused(
            f"{owner} needs '{called}'{origin}, which is not on the list of harmless Keras classes: give the model as "
            f"`module:function`. {_TRUST}"
        )
    if class_name in TENSORFLOW_CALLS:
        inner = value.get("config")
        function = inner.get("function") if isinstance(inner, dict) else None
        if function not in TENSORFLOW_FUNCTIONS:
            raise ModelRefused(
                f"{owner} calls 'tf.{function}', which is not on the list of harmless functions. {_TRUST}"
            )


def _is_keras_module(module: str | None) -> bool:
    return not module or module.split(".")[0] in ("keras", "tf_keras")


def _datasets(group: Any) -> Iterator[tuple[str, Any]]:
    """Visit every data set once, by its name; links to elsewhere are refused before they are followed."""
    import h5py

    stack, seen = [group], set()
    while stack:
        here = stack.pop()
        address = h5py.h5o.get_info(here.id).addr
        if address in seen:  # hard links may form a circle
            continue
        seen.add(address)
        for name in here:
            link = here.get(name, getlink=True)
            path = f"{here.name.rstrip('/')}/{name}"
            if not isinstance(link, h5py.HardLink):
                target = getattr(link, "filename", None) or getattr(link, "path", "elsewhere")
                raise ModelRefused(f"The HDF5 entry '{path}' is a link to '{target}'. {_TRUST}")
            child = here[name]
            if isinstance(child, h5py.Group):
                stack.append(child)
            elif isinstance(child, h5py.Dataset):
                yield path, child


def _dataset_bytes(name: str, dataset: Any) -> int:
    if dataset.external or dataset.is_virtual:
        raise ModelRefused(f"The HDF5 data set '{name}' keeps its values in another file. {_TRUST}")
    return math.prod(dataset.shape or ()) * int(dataset.dtype.itemsize)


def _check_expansion(content_bytes: int, file_bytes: int) -> None:
    if content_bytes > MAX_CONTENT_BYTES:
        raise ModelRefused(
            f"The file declares {content_bytes / 2**30:.1f} GiB of content; at most {MAX_CONTENT_BYTES >> 30} are "
            f"read. {_TRUST}"
        )
    if content_bytes > max(_ALWAYS_FINE_BYTES, _MAX_EXPANSION * file_bytes):
        raise ModelRefused(
            f"The file of {file_bytes} bytes expands to {content_bytes}, more than {_MAX_EXPANSION} times. {_TRUST}"
        )
