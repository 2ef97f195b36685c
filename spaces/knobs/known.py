"""The knobs there are, by name."""

from collections.abc import Mapping

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.channels import Channels
from paretune.spaces.knobs.clusters import Clusters
from paretune.spaces.knobs.knob import Knob
from paretune.spaces.knobs.number_format import NumberFormat
from paretune.spaces.knobs.rank import Rank
from paretune.spaces.knobs.sparsity import Sparsity
from paretune.spaces.suggest import nearest

#: In the order in which they are decided, and told.
KNOBS: Mapping[str, Knob] = {knob.name: knob for knob in (Channels(), Rank(), Sparsity(), Clusters(), NumberFormat())}


def knob_named(name: str) -> Knob:
    """Return the knob of a name.

    Raises:
        ConfigurationError: If there is none; names the known ones and the nearest.
    """
    try:
        return KNOBS[name]
    except KeyError:
        raise ConfigurationError(
            f"Unknown knob '{name}'; known are {', '.join(KNOBS)}.{nearest(name, list(KNOBS))}"
        ) from None
