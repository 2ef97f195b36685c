"""How many distinct values the weights of a layer may have: weight clustering."""

from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.knob import Knob, is_none
from paretune.spaces.policies.layers import LayerSpec


class Clusters(Knob):
    """The distinct values that are kept, zero included, at least 2; ``None`` leaves them free."""

    name = "clusters"
    untouched = None
    default_choices = (None, 32, 16, 8, 4)

    def read(self, value: object) -> int | None:
        """Turn a whole number, or ``none``, into a count of clusters."""
        read: Any = None if is_none(value) else value
        self.check(read)
        return read  # type: ignore[no-any-return]  # it has been checked

    def check(self, value: Any) -> None:
        """Raise unless a policy may hold this value."""
        if value is not None and (type(value) is not int or value < 2):
            raise ConfigurationError(f"`clusters` must be none or a whole number of at least 2, got {value!r}.")

    def strength(self, value: int | None) -> float:
        """Fewer values take away more."""
        return 0.0 if value is None else 1 / value

    def refusal(self, spec: LayerSpec, value: int | None) -> str | None:
        """Return what the layer cannot do, and why, if it cannot have this value."""
        return None if value is None or spec.clusterable else f"cannot be clustered: {self.why_not(spec, value)}"

    def offers(self, spec: LayerSpec, choice: int | None) -> bool:
        """Return whether a choice makes sense for the layer."""
        return choice is None or (spec.clusterable and choice < spec.distinct)
