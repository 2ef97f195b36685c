"""What the doctor knows about one layer."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization

#: Values that a pruned layer keeps at least: zero, and one on each side of it.
FEWEST_PRUNED_CLUSTERS = 3
#: Energies are told in so many digits.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """A layer that a policy can decide about, and what each knob may do to it.

    Attributes:
        name: Name of the layer in the working copy of the model.
        kind: Keras class, such as ``Conv2D``.
        weight_shape: Shape of the kernel the knobs act on.
        weights: Number of kernel weights.
        distinct: Distinct values among the kernel weights as trained.
        macs: Multiply-accumulate operations for one sample; 0 where they cannot be counted.
        channels: Output channels; 0 where they cannot be removed.
        channel_group: The first of the layers whose channels are removed together; empty where they cannot be.
        reads: Channel groups whose channels this layer takes as input: it gets narrower with them.
        energies: Which share of its squared singular values the kernel keeps, as a matrix of inputs by outputs, if the
            first one, two, ... stay: for all ranks that make it smaller. Empty where it cannot be stored as two.
        prunable: Whether ``sparsity`` above 0 is possible.
        clusterable: Whether ``clusters`` is possible.
        quantizations: Number formats the exported file can carry for this layer.
        refusals: Why not, by knob (``channels``, ``rank``, ``sparsity``, ``clusters``) or number format (``int4``).
        pattern_floors: Least sparsity of this layer, once it is pruned at all, by the sparsity patterns that ask for
            one (``2:4``).
        pattern_refusals: Why its zeros, or those of one of its kernels, fall back to unstructured, by sparsity pattern.
        least_sparsity: Of this layer, once it is pruned at all, under the pattern of the recipe it is trained with.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    weights: int
    distinct: int
    macs: int = 0
    channels: int = 0
    channel_group: str = ""
    reads: tuple[str, ...] = ()
    energies: tuple[float, ...] = ()
    prunable: bool = True
    clusterable: bool = True
    quantizations: tuple[Quantization, ...] = (Quantization.FLOAT32,)
    refusals: Mapping[str, str] = field(default_factory=dict)
    pattern_floors: Mapping[str, float] = field(default_factory=dict)
    pattern_refusals: Mapping[str, str] = field(default_factory=dict)
    least_sparsity: float = 0.0

    def zeros(self, sparsity: float) -> int:
        """Return how many weights a sparsity sets to zero, as tfmot counts them: ``n - round(n * (1 - s))``."""
        return self.weights - round(self.weights * (1 - sparsity))

    def kept_channels(self, fraction: float) -> int:
        """Return how many output channels a kept fraction leaves: the nearest whole number, at least 1."""
        return max(1, round(self.channels * fraction))

    @property
    def matrix(self) -> tuple[int, int]:
        """The kernel as a matrix: how many inputs one output is a sum over, and how many outputs there are."""
        return math.prod(self.weight_shape[:-1]), self.weight_shape[-1]

    def rank_of(self, energy: float | None) -> int | None:
        """Return the lowest rank that keeps a share of the squared singular values; ``None`` where none is smaller."""
        if energy is None:
            return None
        place = bisect_left(self.energies, energy - _ROUNDING)
        return place + 1 if place < len(self.energies) else None

    def check(self, decided: LayerPolicy) -> None:
        """Raise unless every knob of ``decided`` is possible here.

        Raises:
            ConfigurationError: Names the layer, the knob and the doctor's reason.
        """
        if decided.channels < 1 and not self.channels:
            raise ConfigurationError(f"Layer '{self.name}' cannot lose channels: {self._why('channels')}")
        if decided.rank is not None and not self.energies:
            raise ConfigurationError(f"Layer '{self.name}' cannot have a rank: {self._why('rank')}")
        if decided.sparsity > 0 and not self.prunable:
            raise ConfigurationError(f"Layer '{self.name}' cannot be pruned: {self._why('sparsity')}")
        if decided.clusters is not None and not self.clusterable:
            raise ConfigurationError(f"Layer '{self.name}' cannot be clustered: {self._why('clusters')}")
        if decided.clusters is not None and decided.clusters < FEWEST_PRUNED_CLUSTERS and self._zeros(decided):
            raise ConfigurationError(
                f"`clusters` of a pruned layer must be at least {FEWEST_PRUNED_CLUSTERS} (zero is one), got "
                f"{decided.clusters} (layer '{self.name}')."
            )
        if decided.quantization not in self.quantizations:
            raise ConfigurationError(
                f"Layer '{self.name}' cannot be stored as {decided.quantization}: {self._why(decided.quantization)}"
            )

    def normal_form(self, decided: LayerPolicy) -> LayerPolicy:
        """Return the canonical spelling of a decision: equal effects become equal values.

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
        channels = self.kept_channels(decided.channels) / self.channels if self.channels else 1.0
        if decided.rank is not None and decided.rank <= len(self.energies):
            is_trained_for = decided.quantization is Quantization.INT8_QAT
            form = Quantization.INT8 if is_trained_for else decided.quantization
            return LayerPolicy(channels=channels, rank=decided.rank, quantization=form)
        zeros = self._zeros(decided)
        possible = min(self.distinct, self.weights - zeros + (zeros > 0))
        levels = decided.quantization.weight_levels
        if levels is not None:
            possible = min(possible, levels)
        clusters = decided.clusters
        if clusters is not None and zeros:
            clusters = max(clusters, FEWEST_PRUNED_CLUSTERS)
        if clusters is not None and clusters >= possible:
            clusters = None
        return LayerPolicy(
            channels=channels,
            sparsity=zeros / self.weights,
            clusters=clusters,
            quantization=decided.quantization,
        )

    def _zeros(self, decided: LayerPolicy) -> int:
        sparsity = max(decided.sparsity, self.least_sparsity) if decided.sparsity > 0 else 0.0
        return min(self.zeros(sparsity), self.weights - 1)

    def _why(self, subject: str) -> str:
        return self.refusals.get(subject, f"{self.kind} layers do not support it.")


def kept_share(spec: LayerSpec, policy: Mapping[str, LayerPolicy]) -> float:
    """Return about which share of its kernel weights a layer stores: channels go that it makes, and that it reads.

    Of a layer with a rank, two kernels are stored.
    """
    return share_of(spec, policy[spec.name].rank, made=policy[spec.name].channels, read=_share_read(spec, policy))


def share_of(spec: LayerSpec, rank: int | None, *, made: float, read: float) -> float:
    """Return which share of its kernel weights a layer stores that keeps these shares of its outputs and its inputs."""
    if rank is None:
        return made * read
    inputs, outputs = spec.matrix
    return rank * (read * inputs + made * outputs) / (inputs * outputs)


def without_idle_rank(spec: LayerSpec, policy: Mapping[str, LayerPolicy]) -> LayerPolicy:
    """Return a layer's share of a policy, without a rank that is idle: so many channels go that it saves nothing."""
    decided, read = policy[spec.name], _share_read(spec, policy)
    if decided.rank is None or kept_share(spec, policy) < decided.channels * read:
        return decided
    return replace(decided, rank=None)


def _share_read(spec: LayerSpec, policy: Mapping[str, LayerPolicy]) -> float:
    read = [policy[group].channels for group in spec.reads]
    return sum(read) / len(read) if read else 1.0


def under_pattern(layers: Iterable[LayerSpec], pattern: str) -> tuple[LayerSpec, ...]:
    """Return the layers as they are to be decided about where the recipe asks for a sparsity pattern."""
    return tuple(replace(spec, least_sparsity=spec.pattern_floors.get(pattern, 0.0)) for spec in layers)


def untouched_policy(layers: Iterable[LayerSpec]) -> Policy:
    """Return the policy that leaves every layer as it was: the baseline's, and any base model's."""
    return Policy(tuple((spec.name, LayerPolicy()) for spec in layers))
