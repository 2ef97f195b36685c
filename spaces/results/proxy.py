"""What a policy measures before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.spaces.candidates.recipe import Recipe, untrained_digest
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.measurement import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A policy measured at the rung ``proxy``: imposed on the trained weights, BatchNorm recalibrated.

    Attributes:
        base: Digest of the model and of what its recipe has to do with it, see
            :func:`~paretune.spaces.candidates.recipe.untrained_digest`.
        policy: What was imposed.
        values: As in a trial's measurement.
        layer_bytes: Deflated bytes of each layer's weights on their own.
        seconds: What it cost.
    """

    base: str
    policy: Policy
    values: Mapping[str, float]
    layer_bytes: Mapping[str, int]
    seconds: float

    def is_of(self, architecture: str, recipe: Recipe) -> bool:
        """Return whether its policy measures this on a model under a recipe."""
        return self.base == untrained_digest(architecture, recipe, self.policy)


def proxy_of(architecture: str, recipe: Recipe, policy: Policy, measurement: Measurement) -> Proxy:
    """Return what is kept of a measurement at the rung ``proxy``."""
    return Proxy(
        base=untrained_digest(architecture, recipe, policy),
        policy=policy,
        values=dict(measurement.values),
        layer_bytes={layer.layer: layer.deflated_bytes for layer in measurement.fidelity.layers},
        seconds=sum(measurement.seconds.values()),
    )
