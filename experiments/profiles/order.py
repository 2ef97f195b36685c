"""The order of decisions in a profile's picture: from mild to strong."""

import math
from typing import Any

from paretune.spaces.policies.policy import Quantization


def strength(knob: str, value: Any) -> float:
    """Return a number that grows with what a decision takes away; of one knob, these can be compared.

    More sparsity takes away more; of other knobs, smaller numbers do (clusters, say), and ``None`` takes nothing.
    Number formats go by their bits.
    """
    if value is None:
        return -math.inf
    if knob == "quantization":
        return -float(Quantization(value).weight_bits)
    if isinstance(value, int | float):
        return float(value) if knob == "sparsity" else -float(value)
    return 0.0
