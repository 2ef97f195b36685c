"""A policy: what is decided about every layer."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.suggest import nearest


class Quantization(StrEnum):
    """Number format of one layer in the exported file.

    ``dynamic_int8``, ``int4`` and ``int4_block`` store integer weights and keep float activations; ``int8``,
    ``int8_qat`` and ``int16x8`` compute in integers, with activation ranges fixed at export (static). ``int4`` has a
    scale for each output channel, ``int4_block`` one for each block of 32 weights of a channel.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    DYNAMIC_INT8 = "dynamic_int8"
    INT8 = "int8"
    INT8_QAT = "int8_qat"
    INT16X8 = "int16x8"
    INT4 = "int4"
    INT4_BLOCK = "int4_block"

    @property
    def weight_bits(self) -> int:
        """Bits that one stored weight takes; scales come on top (half a bit a weight in ``int4_block``)."""
        return _WEIGHT_BITS[self]

    @property
    def weight_levels(self) -> int | None:
        """Distinct values one scale can express (symmetric, narrow range), or ``None`` for a float format."""
        return None if self.weight_bits >= 16 else 2**self.weight_bits - 1

    @property
    def is_static(self) -> bool:
        """Whether activations are integers too, so that their ranges must be known at export."""
        return self in (Quantization.INT8, Quantization.INT8_QAT, Quantization.INT16X8)


_WEIGHT_BITS = {
    Quantization.FLOAT32: 32,
    Quantization.FLOAT16: 16,
    Quantization.DYNAMIC_INT8: 8,
    Quantization.INT8: 8,
    Quantization.INT8_QAT: 8,
    Quantization.INT16X8: 8,
    Quantization.INT4: 4,
    Quantization.INT4_BLOCK: 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPolicy:
    """One layer's share of a policy.

    Attributes:
        channels: Fraction of the output channels that the layer keeps, in (0, 1]; 1 leaves it as wide as it was.
        rank: Singular values of the kernel (as a matrix, inputs by outputs) that are kept, at least 1: it is stored as
            two smaller kernels. ``None`` stores it whole.
        sparsity: Fraction of the remaining weights set to zero, in [0, 1); 0 leaves the layer dense.
        clusters: Distinct weight values kept (zero included), at least 2; ``None`` leaves them free.
        quantization: Number format in the exported file.
    """

    channels: float = 1.0
    rank: int | None = None
    sparsity: float = 0.0
    clusters: int | None = None
    quantization: Quantization = Quantization.FLOAT32

    def __post_init__(self) -> None:
        if not _is_number(self.channels) or not 0 < self.channels <= 1:
            raise ConfigurationError(f"`channels` must be in (0, 1], got {self.channels!r}.")
        if self.rank is not None and (type(self.rank) is not int or self.rank < 1):
            raise ConfigurationError(f"`rank` must be none or a whole number of at least 1, got {self.rank!r}.")
        if not _is_number(self.sparsity) or not 0 <= self.sparsity < 1:
            raise ConfigurationError(f"`sparsity` must be in [0, 1), got {self.sparsity!r}.")
        if self.clusters is not None and (type(self.clusters) is not int or self.clusters < 2):
            raise ConfigurationError(f"`clusters` must be none or a whole number of at least 2, got {self.clusters!r}.")
        if not isinstance(self.quantization, Quantization):
            raise ConfigurationError(f"`quantization` must be a Quantization, got {self.quantization!r}.")

    @property
    def is_untouched(self) -> bool:
        """Whether this leaves the layer exactly as it was."""
        return self == LayerPolicy()

    def to_document(self) -> dict[str, Any]:
        """Return plain data, every knob spelled out."""
        return {
            "channels": self.channels,
            "rank": self.rank,
            "sparsity": self.sparsity,
            "clusters": self.clusters,
            "quantization": str(self.quantization),
        }


KNOBS = ("channels", "rank", "sparsity", "clusters", "quantization")

_FRACTIONS = {"channels": "(0, 1]", "sparsity": "[0, 1)"}


def read_knob(knob: str, value: object) -> Any:
    """Turn one value of a document into the value :class:`LayerPolicy` takes.

    ``none`` (in any case) and null mean no clusters, and the full rank. Ranges are checked by :class:`LayerPolicy`.

    Raises:
        ConfigurationError: If ``knob`` is unknown or ``value`` is not of its kind.
    """
    if knob not in KNOBS:
        raise ConfigurationError(f"Unknown knob '{knob}'; known are {', '.join(KNOBS)}.{nearest(knob, KNOBS)}")
    if knob in _FRACTIONS:
        if not _is_number(value):
            raise ConfigurationError(f"`{knob}` must be a number in {_FRACTIONS[knob]}, got {value!r}.")
        return float(value)  # type: ignore[arg-type]  # _is_number has checked it
    if knob in ("rank", "clusters"):
        return None if _is_none(value) else value
    try:
        return Quantization(str(value))
    except ValueError:
        modes = [str(mode) for mode in Quantization]
        raise ConfigurationError(
            f"Unknown quantization {value!r}; known are {', '.join(modes)}.{nearest(str(value), modes)}"
        ) from None


def read_choice(knob: str, value: object) -> Any:
    """Turn one choice of a space into a value: as :func:`read_knob`, and checked.

    A choice of ``rank`` is not the rank itself, which would suit one layer and no other, but its energy: which share of
    the squared singular values of the trained kernel is kept.

    Raises:
        ConfigurationError: If ``knob`` is unknown, or ``value`` is not of its kind or out of range.
    """
    if knob != "rank":
        read = read_knob(knob, value)
        LayerPolicy(**{knob: read})
        return read
    if _is_none(value):
        return None
    if not _is_number(value) or not 0 < value < 1:  # type: ignore[operator]  # _is_number has checked it
        raise ConfigurationError(
            f"`rank` choices must be none or shares of the squared singular values to keep, in (0, 1), got {value!r}."
        )
    return float(value)  # type: ignore[arg-type]  # _is_number has checked it


def _is_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.lower() == "none")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Policy(Mapping[str, LayerPolicy]):
    """A :class:`LayerPolicy` for every layer of a model that a policy can decide about, in model order.

    Immutable and picklable. Two policies are equal when they decide the same about the same layers, in whatever
    order; then they share a digest.
    """

    entries: tuple[tuple[str, LayerPolicy], ...]

    def __getitem__(self, layer: str) -> LayerPolicy:
        for name, decided in self.entries:
            if name == layer:
                return decided
        raise KeyError(layer)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and dict(self.entries) == dict(other.entries)

    def __hash__(self) -> int:
        return hash(frozenset(self.entries))

    def __repr__(self) -> str:
        return f"Policy({self.digest[:12]}, {len(self)} layers)"

    @property
    def is_untouched(self) -> bool:
        """Whether every layer stays exactly as it was."""
        return all(decided.is_untouched for _, decided in self.entries)

    @property
    def digest(self) -> str:
        """SHA-256 of the decisions, as 64 hexadecimal digits; the same in every process."""
        return digest_of({name: decided.to_document() for name, decided in self.entries})

    def to_document(self) -> dict[str, Any]:
        """Return plain data that :meth:`paretune.spaces.policies.space.Space.resolve` reads back to an equal policy."""
        return {"layers": {name: decided.to_document() for name, decided in self.entries}}


def digest_of(document: object) -> str:
    """Return the SHA-256 of plain data, as 64 hexadecimal digits; key order does not matter."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
