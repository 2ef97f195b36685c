"""How many of its output channels a layer keeps: structured pruning."""

from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.knob import Knob, is_number, percentage
from paretune.spaces.policies.layers import LayerSpec


class Channels(Knob):
    """A kept fraction, in (0, 1]; 1 leaves the layer as wide as it was."""

    name = "channels"
    untouched = 1.0
    default_choices = (1.0, 0.75, 0.5, 0.25)

    def read(self, value: object) -> float:
        """Turn a number into a kept fraction."""
        self.check(value)
        return float(value)  # type: ignore[arg-type]  # it has been checked

    def check(self, value: Any) -> None:
        """Raise unless a policy may hold this value."""
        if not is_number(value) or not 0 < value <= 1:
            raise ConfigurationError(f"`channels` must be a number in (0, 1], got {value!r}.")

    def strength(self, value: float) -> float:
        """Fewer channels take away more."""
        return -value

    def refusal(self, spec: LayerSpec, value: float) -> str | None:
        """Return what the layer cannot do, and why, if it cannot have this value."""
        return f"cannot lose channels: {self.why_not(spec, value)}" if value < 1 and not spec.channels else None

    def offers(self, spec: LayerSpec, choice: float) -> bool:
        """Return whether a choice makes sense for the layer."""
        return choice == 1 or spec.channels > 1

    def text(self, value: float) -> str:
        """Return the share as a percentage."""
        return percentage(value)
