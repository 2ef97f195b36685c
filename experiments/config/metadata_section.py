"""The section ``metadata`` of an experiment file: what an exported file tells about itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.file_metadata import ONLY, FileMetadata, Normalization


def file_metadata(section: Mapping[str, Any], beside: Path) -> FileMetadata | None:
    """Read the section; ``None`` if it is empty. Names of inputs and outputs are checked once there is a file.

    Args:
        section: As the experiment file has it.
        beside: Folder of the experiment file: a file of labels may lie there, one a line.

    Raises:
        ConfigurationError: If labels or numbers are not possible, or the file of labels cannot be read.
    """
    if not section:
        return None
    means, stds = _by_name(section.get("mean")), _by_name(section.get("std"))
    return FileMetadata(
        **{key: section[key] for key in ("description", "author", "license", "version") if key in section},
        labels={name: _labels(given, beside) for name, given in _by_name(section.get("labels")).items()},
        normalization={
            name: Normalization(
                mean=_numbers("mean", means.get(name, 0)),
                std=_numbers("std", stds.get(name, 1)),
            )
            for name in {**means, **stds}
        },
    )


def _by_name(given: Any) -> Mapping[str, Any]:
    if given is None:
        return {}
    return given if isinstance(given, dict) else {ONLY: given}


def _labels(given: Any, beside: Path) -> tuple[str, ...]:
    if isinstance(given, str):
        file = beside / given
        try:
            given = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigurationError(
                f"`labels` must be a list, or a text file that is there, one label a line; {given!r}: {reason}."
            ) from None
    # YAML reads 0 and 1 as numbers, and labels that are digits are common
    is_list = isinstance(given, list) and all(isinstance(label, str | int) for label in given)
    labels = tuple(str(label).strip() for label in given) if is_list else ()
    if not labels or not all(labels) or any(isinstance(label, bool) for label in given):
        raise ConfigurationError(f"`labels` must be words, none of them empty, got {given!r}; quote yes, no and true.")
    if any("\n" in label for label in labels):
        raise ConfigurationError("`labels` must be one line each.")
    return labels


def _numbers(key: str, given: Any) -> tuple[float, ...]:
    values = given if isinstance(given, list) else [given]
    if not values or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise ConfigurationError(f"`{key}` must be a number, or a list of one for each channel, got {given!r}.")
    return tuple(float(value) for value in values)
