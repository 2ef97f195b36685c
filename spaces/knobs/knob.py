"""What a knob is: one decision about one layer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from paretune.spaces.policies.layers import LayerSpec


class Knob(ABC):
    """A decision about a layer, of which policies hold a value.

    Knobs have no state: there is one object of each, in :data:`~paretune.spaces.knobs.known.KNOBS`.

    Attributes:
        name: As written in experiment files and policies.
        untouched: The value that leaves a layer as it was.
        default_choices: What a space offers unless it is told otherwise, as :meth:`read_choice` gives it.
        is_ordered: Whether choices of like strength are alike.
    """

    name: ClassVar[str]
    untouched: ClassVar[Any]
    default_choices: ClassVar[tuple[Any, ...]]
    is_ordered: ClassVar[bool] = True

    @abstractmethod
    def read(self, value: object) -> Any:
        """Turn a value of a document into the value a policy holds.

        Raises:
            ConfigurationError: If it is of the wrong kind or out of range.
        """

    @abstractmethod
    def check(self, value: Any) -> None:
        """Raise :class:`ConfigurationError` unless a policy may hold this value."""

    def read_choice(self, value: object) -> Any:
        """Turn a choice of a space into a value, as :meth:`read` does; not every knob's choices are its values."""
        return self.read(value)

    @abstractmethod
    def strength(self, value: Any) -> float:
        """Return a number that grows with what a decision takes away, the same for values that mean the same."""

    @abstractmethod
    def refusal(self, spec: LayerSpec, value: Any) -> str | None:
        """Return what a layer cannot do, and why, if it cannot have this value."""

    @abstractmethod
    def offers(self, spec: LayerSpec, choice: Any) -> bool:
        """Return whether a choice makes sense for a layer: it is possible, and more than another word for untouched."""

    def ordered(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return values in order, the mildest first."""
        return tuple(sorted(values, key=self.strength))

    def nearest(self, choices: Sequence[Any], wish: Any) -> int:
        """Return the index of the choice that comes nearest to a wished-for value."""
        wanted = self.strength(wish)
        return min(range(len(choices)), key=lambda index: abs(self.strength(choices[index]) - wanted))

    def shared(self, specs: Sequence[LayerSpec], choices: Sequence[Any]) -> tuple[Any, ...]:
        """Return the values that choices stand for in layers which share one decision, in order."""
        return self.ordered(choices)

    def subject(self, value: Any) -> str:
        """Return the word under which the doctor keeps why a layer cannot have this value."""
        return self.name

    def text(self, value: Any) -> str:
        """Return a value as people read it."""
        return "none" if value is None else str(value)

    def why_not(self, spec: LayerSpec, value: Any) -> str:
        """Return the doctor's reason why a layer cannot have this value."""
        return spec.refusals.get(self.subject(value), f"{spec.kind} layers do not support it.")


def is_number(value: object) -> bool:
    """Return whether a value is a number; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_none(value: object) -> bool:
    """Return whether a value of a document says ``none``, in any case, or nothing."""
    return value is None or (isinstance(value, str) and value.lower() == "none")


def percentage(share: float) -> str:
    """Return a fraction as a percentage of at most three digits, such as ``50%`` or ``49.8%``."""
    return f"{100 * share:.3g}%"
