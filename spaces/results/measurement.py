"""The numbers of a trial, and whether the file holds what the policy asked for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paretune.spaces.policies.policy import LayerPolicy, read_knob


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFidelity:
    """Requested against achieved for one layer, read from the exported file.

    Attributes:
        layer: Name of the layer.
        requested: Its share of the policy.
        channels: Output channels found; 0 for a layer that must keep all of them.
        rank: Channels in which the two kernels of a layer with a rank meet; 0 where the kernel is whole.
        weights: Kernel weights found in the file, those of both kernels of a layer with a rank.
        zeros: How many of them are zero, those that rounding added included.
        rounding_zeros: How many of ``zeros`` were not zero before rounding to the number format.
        distinct: Distinct values, zero included: per tensor, or the largest count of any output channel where
            BatchNorm is folded in, scales are per channel or the recipe clusters by channel, or of any block where
            scales are per block.
        distinct_scope: ``tensor``, ``channel`` or ``block``.
        stored_as: The number format found, in the words of
            :class:`~paretune.spaces.policies.policy.Quantization` (``int8`` stands for ``int8_qat`` too: the file
            cannot tell them apart).
        deflated_bytes: What its stored weights take when they are deflated on their own.
        faults: What does not match, one sentence each; empty when the layer got what was asked.
    """

    layer: str
    requested: LayerPolicy
    weights: int
    zeros: int
    rounding_zeros: int
    distinct: int
    distinct_scope: str
    stored_as: str
    deflated_bytes: int = 0
    channels: int = 0
    rank: int = 0
    faults: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        document = {name: getattr(self, name) for name in _LAYER_NUMBERS}
        return {"requested": self.requested.to_document(), **document, "faults": list(self.faults)}


_LAYER_NUMBERS = (
    "layer",
    "weights",
    "zeros",
    "rounding_zeros",
    "distinct",
    "distinct_scope",
    "stored_as",
    "deflated_bytes",
    "channels",
    "rank",
)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Requested against achieved, layer by layer."""

    layers: tuple[LayerFidelity, ...]

    @property
    def is_clean(self) -> bool:
        """Whether every layer got what the policy asked for."""
        return not self.faults

    @property
    def faults(self) -> tuple[str, ...]:
        """All faults, layer by layer."""
        return tuple(fault for layer in self.layers for fault in layer.faults)

    def to_document(self) -> list[dict[str, Any]]:
        """Return plain data for JSON that :func:`read_fidelity` reads back to an equal value."""
        return [layer.to_document() for layer in self.layers]


def read_fidelity(document: list[dict[str, Any]]) -> Fidelity:
    """Read what :meth:`Fidelity.to_document` wrote."""
    return Fidelity(
        tuple(
            LayerFidelity(
                requested=LayerPolicy(**{knob: read_knob(knob, value) for knob, value in row["requested"].items()}),
                faults=tuple(row["faults"]),
                **{name: row[name] for name in _LAYER_NUMBERS},
            )
            for row in document
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The numbers of a trial, and what they cost.

    Attributes:
        values: Finite number by name: the task's metric, ``size_bytes``, ``latency_ratio``, ...
        training_steps: Optimizer steps spent.
        seconds: Wall seconds by part of the work (``prune``, ``cluster``, ``quantize``, ``export``, ``measure``).
        fidelity: Requested against achieved.
        details: Plain data for the record: spread of the latency, machine, warnings.
        artifacts: File contents by file name (``model.tflite``, ``weights.npz``). Not compared, not printed.
    """

    values: Mapping[str, float]
    training_steps: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    fidelity: Fidelity = Fidelity(())
    details: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not math.isfinite(value):
                raise ValueError(f"`{name}` must be finite, got {value!r}")
