"""A policy: what is decided about every layer."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paretune.spaces.knobs.known import KNOBS, knob_named
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.quantization import Quantization


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
        for name, knob in KNOBS.items():
            knob.check(getattr(self, name))

    @property
    def is_untouched(self) -> bool:
        """Whether this leaves the layer exactly as it was."""
        return self == LayerPolicy()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "LayerPolicy":
        """Read what :meth:`to_document` returns; a knob that is left out stays untouched.

        Raises:
            ConfigurationError: On an unknown knob, or a value that it does not take.
        """
        return cls(**{name: knob_named(name).read(value) for name, value in document.items()})

    def to_document(self) -> dict[str, Any]:
        """Return plain data, every knob spelled out."""
        values = {name: getattr(self, name) for name in KNOBS}
        return values | {"quantization": str(self.quantization)}


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


def untouched_policy(layers: Iterable[LayerSpec]) -> Policy:
    """Return the policy that leaves every layer as it was: the baseline's, and any base model's."""
    return Policy(tuple((spec.name, LayerPolicy()) for spec in layers))


def digest_of(document: object) -> str:
    """Return the SHA-256 of plain data, as 64 hexadecimal digits; key order does not matter."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
