"""What a policy measures before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.spaces.measurement import Measurement
from paretune.spaces.patterns import UNSTRUCTURED
from paretune.spaces.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A policy measured at the rung ``proxy``: imposed on the trained weights, BatchNorm recalibrated.

    Attributes:
        architecture: Digest of the model.
        policy: What was imposed.
        values: As in a trial's measurement.
        layer_bytes: Deflated bytes of each layer's weights on their own.
        seconds: What it cost.
        imposed: What of the recipe it was imposed with, see :attr:`paretune.spaces.recipe.Recipe.imposed`.
    """

    architecture: str
    policy: Policy
    values: Mapping[str, float]
    layer_bytes: Mapping[str, int]
    seconds: float
    imposed: str = UNSTRUCTURED


def proxy_of(architecture: str, policy: Policy, measurement: Measurement, *, imposed: str = UNSTRUCTURED) -> Proxy:
    """Return what is kept of a measurement at the rung ``proxy``."""
    return Proxy(
        architecture=architecture,
        policy=policy,
        values=dict(measurement.values),
        layer_bytes={layer.layer: layer.deflated_bytes for layer in measurement.fidelity.layers},
        seconds=sum(measurement.seconds.values()),
        imposed=imposed,
    )
