"""Kernels stored in blocks of weights: what they read must be a whole number of blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.number_format import STAND_INS
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.policies.quantization import BLOCK_WEIGHTS, Quantization


def check_blocks(layers: Sequence[LayerSpec], policy: Mapping[str, LayerPolicy]) -> None:
    """Raise :class:`ConfigurationError` where a layer is to be stored in blocks and cannot be."""
    specs = {spec.name: spec for spec in layers}
    for spec in layers:
        decided = policy[spec.name]
        why = _why_not_in_blocks(spec, decided, specs, policy)
        if decided.quantization is Quantization.INT4_BLOCK and why is not None:
            raise ConfigurationError(f"Layer '{spec.name}' cannot be stored as {Quantization.INT4_BLOCK}: {why}")


def without_broken_blocks(
    spec: LayerSpec, decided: LayerPolicy, layers: Mapping[str, LayerSpec], policy: Mapping[str, LayerPolicy]
) -> LayerPolicy:
    """Return what is decided about a layer, in the next format where it cannot be stored in blocks.

    Args:
        spec: The layer.
        decided: Its share of the policy.
        layers: All layers, by name.
        policy: What is decided about each.
    """
    if decided.quantization is not Quantization.INT4_BLOCK:
        return decided
    if _why_not_in_blocks(spec, decided, layers, policy) is None:
        return decided
    others = (mode for mode in STAND_INS[Quantization.INT4_BLOCK] if mode in spec.quantizations)
    return replace(decided, quantization=next(others, Quantization.FLOAT32))


def _why_not_in_blocks(
    spec: LayerSpec, decided: LayerPolicy, layers: Mapping[str, LayerSpec], policy: Mapping[str, LayerPolicy]
) -> str | None:
    """Return why a layer that can be stored in blocks as it is cannot be once it loses inputs or has a rank."""
    gone = sum(
        each * (layers[group].channels - layers[group].kept_channels(policy[group].channels))
        for group, each in zip(spec.reads, spec.inputs_each, strict=False)
    )
    if gone % BLOCK_WEIGHTS:
        left = spec.weight_shape[0] - gone
        return f"the {left} inputs that channels leave of it cannot be divided into blocks of {BLOCK_WEIGHTS}."
    if decided.rank is not None and decided.rank <= len(spec.energies) and decided.rank % BLOCK_WEIGHTS:
        return f"a rank of {decided.rank} cannot be divided into blocks of {BLOCK_WEIGHTS}."
    return None
