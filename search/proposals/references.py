"""Policies that every search tries first, because people would."""

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization
from paretune.spaces.policies.space import Space

#: What a reference decides about every layer, as far as the space lets it. float32 is the baseline, trial 0.
_WISHES = (
    LayerPolicy(quantization=Quantization.INT8),
    LayerPolicy(quantization=Quantization.INT8_QAT),
    LayerPolicy(sparsity=0.5, clusters=16, quantization=Quantization.INT8_QAT),
    LayerPolicy(sparsity=0.8, clusters=16, quantization=Quantization.INT8_QAT),
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A policy that is worth a trial.

    Attributes:
        choice: The index into the choices of every parameter that gives it.
        policy: What they give.
        origin: Which part of a sampler had the idea; empty where it has only one.
    """

    choice: Mapping[str, int]
    policy: Policy
    origin: str = ""


def reference_policies(space: Space) -> tuple[Proposal, ...]:
    """Return the references nearest to the usual uniform policies within ``space``.

    They are uniform int8, uniform int8 with quantization-aware training, and 50 % and 80 % sparsity with 16 clusters
    in the latter. Those that fall together in ``space``, or leave every layer untouched, come once or not at all.
    """
    found: dict[str, Proposal] = {}
    for wish in _WISHES:
        policy, choice = space.nearest(wish)
        if not policy.is_untouched:
            found.setdefault(policy.digest, Proposal(choice, policy))
    return tuple(found.values())
