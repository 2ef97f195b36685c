"""Images in one folder per class."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paretune.objectives.data.raw_data import SPLITS, RawData
from paretune.objectives.data.signature import Port, Signature
from paretune.spaces.errors import DataError

_SPLIT_FOLDERS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_image_folder(folder: Path, signature: Signature) -> RawData:
    """Read images in a folder per class.

    They lie in ``folder/CLASS``, or in ``folder/train/CLASS`` with ``validation`` (or ``val``) and ``test`` beside it.
    Images are resized to the model's input and converted to its number of channels. Values become 0..1, unless the
    model begins with layers that scale them (Rescaling, Normalization); then they stay 0..255. Labels number the
    classes in alphabetical order.

    Raises:
        DataError: No images, an unreadable one, classes that differ between splits, or a model that takes no image.
    """
    port = _image_port(signature)
    folders = {"train": folder}
    if (folder / "train").is_dir():
        folders = {split: folder / name for name, split in _SPLIT_FOLDERS.items() if (folder / name).is_dir()}
    classes = _subfolders(folders["train"])
    if not classes:
        raise DataError(f"An image folder needs a sub-folder of images per class, but {folders['train']} has none.")
    size = _size(port, folders["train"])
    parts = {split: _read_split(folders[split], classes, size, port) for split in SPLITS if split in folders}
    if not signature.scales_inputs:
        for images, _ in parts.values():
            images /= 255.0
    return RawData(parts=parts, class_names=tuple(classes), notes=(scaling_note(signature),))


def scaling_note(signature: Signature) -> str:
    """Say what became of pixel values."""
    if signature.scales_inputs:
        return "Pixel values are kept at 0..255, because the model begins by scaling them."
    return "Pixel values were divided by 255, because the model does not begin with Rescaling or Normalization."


def _image_port(signature: Signature) -> Port:
    ports = signature.inputs
    if len(ports) != 1 or len(ports[0].shape) != 3 or ports[0].shape[2] not in _MODES:
        raise DataError(
            "An image folder needs a model with one input of shape (height, width, 1, 3 or 4); this one takes "
            f"{', '.join(str(port.shape) for port in ports)}. Give the data as .npz or module:function."
        )
    return ports[0]


def _size(port: Port, folder: Path) -> tuple[int, int]:
    """Return height and width; where the model takes any, those of the first image."""
    height, width = port.shape[:2]
    if height is None or width is None:
        first = next((path for name in _subfolders(folder) for path in _images(folder / name)), None)
        if first is None:
            raise DataError(f"{folder} holds no images.")
        shape = _read_image(first, "RGB", None).shape
        height, width = height or shape[0], width or shape[1]
    return height, width


def _subfolders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _read_split(
    folder: Path, classes: list[str], size: tuple[int, int], port: Port
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    unknown = sorted(set(_subfolders(folder)) - set(classes))
    if unknown:
        raise DataError(f"{folder} has the class '{unknown[0]}', which the training images lack.")
    paths = [
        (path, label)
        for label, name in enumerate(classes)
        if (folder / name).is_dir()
        for path in _images(folder / name)
    ]
    if not paths:
        raise DataError(f"{folder} holds no images; known endings are {' '.join(_SUFFIXES)}.")
    channels = port.shape[2] or 3
    images = np.empty((len(paths), *size, channels), np.float32)
    for row, (path, _) in enumerate(paths):
        images[row] = _read_image(path, _MODES[channels], size).reshape(*size, channels)
    return images, np.array([label for _, label in paths], np.int32)


def _read_image(path: Path, mode: str, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                image = opened.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"Image {path} cannot be read; replace or remove it ({reason}).") from None
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)
