"""What an exported file tells its users about itself: TensorFlow Lite's metadata."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from paretune.spaces.errors import ConfigurationError

#: Stands for the only input or output where there is one.
ONLY = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """How raw values become what the model takes: ``(value - mean) / std``.

    Attributes:
        mean: One number, or one for each channel.
        std: Likewise, above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or not all(math.isfinite(value) for value in self.mean):
            raise ConfigurationError(f"`mean` must be a number, or a list of numbers, got {list(self.mean)}.")
        if not self.std or not all(0 < value < math.inf for value in self.std):
            raise ConfigurationError(f"`std` must be above 0, got {list(self.std)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMetadata:
    """What is written into a file beside the model; what is empty is left out.

    Attributes:
        description: What the model does.
        author: Who made it.
        license: Under which licence it may be used.
        version: Of the model.
        labels: Names of the classes in order, by output; ``ONLY`` for the only one.
        normalization: By input; ``ONLY`` for the only one.
    """

    description: str = ""
    author: str = ""
    license: str = ""
    version: str = ""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    normalization: Mapping[str, Normalization] = field(default_factory=dict)
