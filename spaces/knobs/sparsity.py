"""How many of its weights a layer loses: magnitude pruning."""

from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.knob import Knob, is_number, percentage
from paretune.spaces.policies.layers import LayerSpec


class Sparsity(Knob):
    """The fraction of the remaining weights that is zero, in [0, 1); 0 leaves the layer dense."""

    name = "sparsity"
    untouched = 0.0
    default_choices = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9)

    def read(self, value: object) -> float:
        """Turn a number into a fraction of zeros."""
        self.check(value)
        return float(value)  # type: ignore[arg-type]  # it has been checked

    def check(self, value: Any) -> None:
        """Raise unless a policy may hold this value."""
        if not is_number(value) or not 0 <= value < 1:
            raise ConfigurationError(f"`sparsity` must be a number in [0, 1), got {value!r}.")

    def strength(self, value: float) -> float:
        """More zeros take away more."""
        return value

    def refusal(self, spec: LayerSpec, value: float) -> str | None:
        """Return what the layer cannot do, and why, if it cannot have this value."""
        return f"cannot be pruned: {self.why_not(spec, value)}" if value > 0 and not spec.prunable else None

    def offers(self, spec: LayerSpec, choice: float) -> bool:
        """Return whether a choice makes sense for the layer."""
        return choice == 0 or spec.prunable

    def text(self, value: float) -> str:
        """Return the share as a percentage."""
        return percentage(value)
