"""How the funnel goes about its search: what `search: {sampler: {name: funnel, arguments: ...}}` may say."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.suggest import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelSettings:
    """How the funnel goes about it.

    Attributes:
        seeds: Policies of the additive front, spread over it, that are trained: the first ten before anything is
            learnt, the others in turn with what is.
        explore_every: Every so manyth proposal after the seeds is Optuna's, so that a wrong profile cannot lock the
            search; 1 leaves all of them to Optuna.
        shortlist: The most promising candidates whose proxies are measured before one of them is proposed.
        thrift: How much the cost of training counts against the expected gain: 0 not at all, 1 as much as the gain
            itself. Most people count trials; but a leaf that gains nearly as much should come first.
        leaves: Whether policies that share a trained stem are looked for on purpose.
    """

    seeds: int = 10
    explore_every: int = 10
    shortlist: int = 6
    thrift: float = 0.25
    leaves: bool = True

    def __post_init__(self) -> None:
        for name in ("seeds", "explore_every", "shortlist"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"`{name}` of the funnel must be a whole number of at least 1, got {value!r}.")
        if isinstance(self.thrift, bool) or not isinstance(self.thrift, int | float) or not 0 <= self.thrift <= 1:
            raise ConfigurationError(f"`thrift` of the funnel must be in [0, 1], got {self.thrift!r}.")
        if not isinstance(self.leaves, bool):
            raise ConfigurationError(f"`leaves` of the funnel must be true or false, got {self.leaves!r}.")


def funnel_settings(arguments: Mapping[str, Any]) -> FunnelSettings:
    """Read settings from plain values.

    Raises:
        ConfigurationError: On an unknown name, or a value out of range.
    """
    known = [entry.name for entry in fields(FunnelSettings)]
    for name in arguments:
        if name not in known:
            raise ConfigurationError(
                f"Unknown argument '{name}' of the funnel; known are {', '.join(known)}.{nearest(name, known)}"
            )
    return FunnelSettings(**arguments)
