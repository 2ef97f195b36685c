"""What a layer makes of a decision: whether it is possible, and the one spelling of all that mean the same."""

from collections.abc import Mapping
from dataclasses import replace

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.known import KNOBS
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.policies.shares import kept_share, share_read

#: Values that a pruned layer keeps at least: zero, and one on each side of it.
FEWEST_PRUNED_CLUSTERS = 3


def check_possible(spec: LayerSpec, decided: LayerPolicy) -> None:
    """Raise unless every knob of ``decided`` is possible for a layer.

    Raises:
        ConfigurationError: Names the layer, the knob and the doctor's reason.
    """
    for name, knob in KNOBS.items():
        refusal = knob.refusal(spec, getattr(decided, name))
        if refusal is not None:
            raise ConfigurationError(f"Layer '{spec.name}' {refusal}")
    if decided.clusters is not None and decided.clusters < FEWEST_PRUNED_CLUSTERS and _zeros(spec, decided):
        raise ConfigurationError(
            f"`clusters` of a pruned layer must be at least {FEWEST_PRUNED_CLUSTERS} (zero is one), got "
            f"{decided.clusters} (layer '{spec.name}')."
        )


def normal_form(spec: LayerSpec, decided: LayerPolicy) -> LayerPolicy:
    """Return the canonical spelling of a decision about a layer: equal effects become equal values.

    * channels become the fraction that a whole number of them gives;
    * a rank at which two kernels are no smaller than one becomes none;
    * a layer with a rank has neither sparsity nor clusters, which are about a kernel that is in the file no more,
      and ``int8`` for ``int8_qat``: training would round the product and not its factors;
    * sparsity becomes the fraction that a whole number of zeros gives, and no less than a pruned layer has anyway;
    * fewer clusters than a pruned layer can have become three;
    * a cluster count no smaller than the values that are possible anyway (the trained ones, those left after
      pruning, those the number format can express) becomes none.

    Applying it twice changes nothing more.
    """
    channels = spec.kept_channels(decided.channels) / spec.channels if spec.channels else 1.0
    if decided.rank is not None and decided.rank <= spec.largest_rank:
        is_trained_for = decided.quantization is Quantization.INT8_QAT
        form = Quantization.INT8 if is_trained_for else decided.quantization
        return LayerPolicy(channels=channels, rank=decided.rank, quantization=form)
    zeros = _zeros(spec, decided)
    possible = min(spec.distinct, spec.weights - zeros + (zeros > 0))
    levels = decided.quantization.weight_levels
    if levels is not None:
        possible = min(possible, levels)
    clusters = decided.clusters
    if clusters is not None and zeros:
        clusters = max(clusters, FEWEST_PRUNED_CLUSTERS)
    if clusters is not None and clusters >= possible:
        clusters = None
    return LayerPolicy(
        channels=channels, sparsity=zeros / spec.weights, clusters=clusters, quantization=decided.quantization
    )


def without_idle_rank(spec: LayerSpec, policy: Mapping[str, LayerPolicy]) -> LayerPolicy:
    """Return a layer's share of a policy, without a rank that is idle: so many channels go that it saves nothing."""
    decided, read = policy[spec.name], share_read(spec, policy)
    if decided.rank is None or kept_share(spec, policy) < decided.channels * read:
        return decided
    return replace(decided, rank=None)


def _zeros(spec: LayerSpec, decided: LayerPolicy) -> int:
    sparsity = max(decided.sparsity, spec.least_sparsity) if decided.sparsity > 0 else 0.0
    return min(spec.zeros(sparsity), spec.weights - 1)
