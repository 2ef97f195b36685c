"""In which number format a layer is stored and computed: quantization."""

from collections.abc import Mapping, Sequence
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.knob import Knob
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.suggest import nearest

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


class NumberFormat(Knob):
    """A :class:`~paretune.spaces.policies.quantization.Quantization`; float32 leaves the layer as it was."""

    name = "quantization"
    untouched = Quantization.FLOAT32
    default_choices = tuple(Quantization)
    is_ordered = False

    def read(self, value: object) -> Quantization:
        """Turn a name into a format."""
        try:
            return Quantization(str(value))
        except ValueError:
            modes = [str(mode) for mode in Quantization]
            raise ConfigurationError(
                f"Unknown quantization {value!r}; known are {', '.join(modes)}.{nearest(str(value), modes)}"
            ) from None

    def check(self, value: Any) -> None:
        """Raise unless a policy may hold this value."""
        if not isinstance(value, Quantization):
            raise ConfigurationError(f"`quantization` must be a Quantization, got {value!r}.")

    def strength(self, value: Quantization) -> float:
        """Fewer bits take away more."""
        return -float(value.weight_bits)

    def refusal(self, spec: LayerSpec, value: Quantization) -> str | None:
        """Return what the layer cannot do, and why, if it cannot have this value."""
        return None if value in spec.quantizations else f"cannot be stored as {value}: {self.why_not(spec, value)}"

    def offers(self, spec: LayerSpec, choice: Quantization) -> bool:
        """Return whether a choice makes sense for the layer."""
        return choice in spec.quantizations

    def ordered(self, values: Sequence[Quantization]) -> tuple[Quantization, ...]:
        """Return formats in the order of :class:`~paretune.spaces.policies.quantization.Quantization`."""
        return tuple(mode for mode in Quantization if mode in values)

    def nearest(self, choices: Sequence[Quantization], wish: Quantization) -> int:
        """Return the index of the wished-for format, or of what stands in for it first."""
        return next(choices.index(mode) for mode in (wish, *STAND_INS[wish], *choices) if mode in choices)

    def subject(self, value: Quantization) -> str:
        """Return the format's name: the doctor tells formats apart."""
        return str(value)
