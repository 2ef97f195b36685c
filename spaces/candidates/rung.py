"""Rungs: how much is spent on a trial."""

from enum import StrEnum


class Rung(StrEnum):
    """How much is spent on a trial: nothing, a quarter of the recipe's epochs, or all of them."""

    PROXY = "proxy"
    SHORT = "short"
    FULL = "full"

    @property
    def epochs_share(self) -> float:
        """Fraction of the recipe's epochs trained at this rung."""
        return {Rung.PROXY: 0.0, Rung.SHORT: 0.25, Rung.FULL: 1.0}[self]
