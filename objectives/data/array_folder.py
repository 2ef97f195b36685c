"""Arrays in a folder of ``.npy`` files, which stay on disk: data larger than memory."""

from pathlib import Path
from typing import Any

import numpy as np

from paretune.objectives.data.raw_data import RawData, raw_from_arrays
from paretune.spaces.errors import DataError


def holds_arrays(folder: Path) -> bool:
    """Whether a folder holds ``.npy`` files."""
    return bool(_files(folder))


def raw_from_folder(folder: Path) -> RawData:
    """Open the arrays of a folder as memory maps: ``x_train.npy``, ``y_train.npy`` and so on, named as in a ``.npz``.

    Raises:
        DataError: One cannot be mapped, or arrays are missing or have unknown names.
    """
    return raw_from_arrays({path.stem: _opened(path) for path in _files(folder)}, str(folder))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.npy") if not path.name.startswith("."))


def _opened(path: Path) -> Any:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        if "Python objects" in str(error):
            raise DataError(
                f"Data file {path} holds pickled Python objects, which are not read because they can run code; "
                "save plain numeric arrays."
            ) from None
        raise DataError(f"Data file {path} is no readable .npy file; write it with numpy.save.") from None
