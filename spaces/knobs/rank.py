"""At which rank a kernel is stored: as two smaller ones."""

from collections.abc import Sequence
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.knob import Knob, is_none, is_number
from paretune.spaces.policies.layers import LayerSpec


class Rank(Knob):
    """A whole number of at least 1, or ``None`` for a kernel that is stored whole.

    A *choice* is not the rank itself, which would suit one layer and no other, but its energy: which share of the
    squared singular values of the trained kernel is kept.
    """

    name = "rank"
    untouched = None
    default_choices = (None,)

    def read(self, value: object) -> int | None:
        """Turn a whole number, or ``none``, into a rank."""
        read: Any = None if is_none(value) else value
        self.check(read)
        return read  # type: ignore[no-any-return]  # it has been checked

    def check(self, value: Any) -> None:
        """Raise unless a policy may hold this value."""
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigurationError(f"`rank` must be none or a whole number of at least 1, got {value!r}.")

    def read_choice(self, value: object) -> float | None:
        """Turn an energy, or ``none``, into a choice."""
        if is_none(value):
            return None
        if not is_number(value) or not 0 < value < 1:  # type: ignore[operator]  # is_number has checked it
            raise ConfigurationError(
                "`rank` choices must be none or shares of the squared singular values to keep, in (0, 1), "
                f"got {value!r}."
            )
        return float(value)  # type: ignore[arg-type]  # is_number has checked it

    def strength(self, value: float | None) -> float:
        """Lower ranks take away more; so do lower energies."""
        return 0.0 if value is None else 1 / value

    def refusal(self, spec: LayerSpec, value: int | None) -> str | None:
        """Return what the layer cannot do, and why, if it cannot have this value."""
        if value is None or spec.largest_rank:
            return None
        return f"cannot have a rank: {self.why_not(spec, value)}"

    def offers(self, spec: LayerSpec, choice: float | None) -> bool:
        """Return whether a choice makes sense for the layer."""
        return choice is None or spec.largest_rank > 0

    def shared(self, specs: Sequence[LayerSpec], choices: Sequence[float | None]) -> tuple[int | None, ...]:
        """Return the ranks that energies stand for: those at which every layer keeps as much."""
        return self.ordered(list(dict.fromkeys(_common_rank(specs, energy) for energy in choices)))


def _common_rank(specs: Sequence[LayerSpec], energy: float | None) -> int | None:
    """Return the rank at which every layer keeps a share of its energy; ``None`` where that makes none smaller."""
    if energy is None:
        return None
    rank = max(spec.rank_of(energy) or spec.largest_rank + 1 for spec in specs)
    return rank if any(rank <= spec.largest_rank for spec in specs) else None
