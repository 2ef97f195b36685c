"""What a policy measures before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.spaces.measurement import Measurement
from paretune.spaces.policy import Policy
from paretune.spaces.recipe import TENSOR, Recipe, cluster_scope_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A policy measured at the rung ``proxy``: imposed on the trained weights, BatchNorm recalibrated.

    Attributes:
        architecture: Digest of the model.
        policy: What was imposed.
        values: As in a trial's measurement.
        layer_bytes: Deflated bytes of each layer's weights on their own.
        seconds: What it cost.
        cluster_scope: What shared one set of clusters: the one setting of a recipe that acts without training.
    """

    architecture: str
    policy: Policy
    values: Mapping[str, float]
    layer_bytes: Mapping[str, int]
    seconds: float
    cluster_scope: str = TENSOR

    def is_of(self, architecture: str, recipe: Recipe) -> bool:
        """Return whether its policy measures this on a model under a recipe."""
        return self.architecture == architecture and self.cluster_scope == cluster_scope_of(self.policy, recipe)


def proxy_of(architecture: str, policy: Policy, measurement: Measurement, cluster_scope: str = TENSOR) -> Proxy:
    """Return what is kept of a measurement at the rung ``proxy``."""
    return Proxy(
        architecture=architecture,
        policy=policy,
        values=dict(measurement.values),
        layer_bytes={layer.layer: layer.deflated_bytes for layer in measurement.fidelity.layers},
        seconds=sum(measurement.seconds.values()),
        cluster_scope=cluster_scope,
    )
