"""The choices for a knob: which there are, which of them a layer supports, and how they are ordered."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import Quantization

DEFAULT_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "channels": (1.0, 0.75, 0.5, 0.25),
    "rank": (None,),
    "sparsity": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9),
    "clusters": (None, 32, 16, 8, 4),
    "quantization": tuple(Quantization),
}

#: What stands in for a number format that a layer does not offer, nearest first.
STAND_INS: Mapping[Quantization, tuple[Quantization, ...]] = {
    Quantization.INT8_QAT: (Quantization.INT8, Quantization.DYNAMIC_INT8, Quantization.INT16X8, Quantization.FLOAT16),
    Quantization.INT8: (Quantization.INT8_QAT, Quantization.DYNAMIC_INT8, Quantization.INT16X8, Quantization.FLOAT16),
    Quantization.INT16X8: (Quantization.INT8, Quantization.DYNAMIC_INT8, Quantization.FLOAT16),
    Quantization.DYNAMIC_INT8: (Quantization.INT8, Quantization.INT8_QAT, Quantization.FLOAT16),
    Quantization.INT4: (Quantization.INT4_BLOCK, Quantization.DYNAMIC_INT8, Quantization.INT8, Quantization.FLOAT16),
    Quantization.INT4_BLOCK: (Quantization.INT4, Quantization.DYNAMIC_INT8, Quantization.INT8, Quantization.FLOAT16),
    Quantization.FLOAT16: (),
    Quantization.FLOAT32: (),
}


def supports(spec: LayerSpec, knob: str, value: Any) -> bool:
    """Return whether a choice makes sense for a layer."""
    if knob == "channels":
        return value == 1 or spec.channels > 1
    if knob == "rank":
        return value is None or bool(spec.energies)
    if knob == "sparsity":
        return value == 0 or spec.prunable
    if knob == "clusters":
        return value is None or (spec.clusterable and value < spec.distinct)
    return value in spec.quantizations


def ordered(knob: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return choices in order, the mildest first; number formats in the order of :class:`Quantization`."""
    if knob == "channels":
        return tuple(sorted(values, reverse=True))
    if knob == "sparsity":
        return tuple(sorted(values))
    if knob in ("rank", "clusters"):
        return tuple(sorted(values, key=lambda value: -value if value is not None else -math.inf))
    return tuple(mode for mode in Quantization if mode in values)


def nearest_choice(knob: str, choices: Sequence[Any], wish: Any) -> int:
    """Return the index of the choice that comes nearest to a wished-for value."""
    if knob == "quantization":
        for mode in (wish, *STAND_INS[wish], *choices):
            if mode in choices:
                return choices.index(mode)
    numbers = [math.inf if value is None else float(value) for value in choices]
    target = math.inf if wish is None else float(wish)
    if knob in ("rank", "clusters"):
        numbers, target = [1 / number for number in numbers], 1 / target
    return min(range(len(numbers)), key=lambda index: abs(numbers[index] - target))
