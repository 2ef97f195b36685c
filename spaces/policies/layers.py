"""What the doctor knows about one layer."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from paretune.spaces.policies.decompositions import CHANNELS, SPATIAL, decomposition_of, matrix_shape
from paretune.spaces.policies.quantization import Quantization

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
        inputs_each: For each of ``reads``: how many inputs of the kernel each of its channels is; a flattened image has
            many.
        energies: Which share of its squared singular values the kernel keeps, as a matrix of inputs by outputs, if the
            first one, two, ... stay: for all ranks that make it smaller. Empty where it cannot be stored as two.
        spatial_energies: The same of the spatial decomposition; empty where it has none either.
        prunable: Whether ``sparsity`` above 0 is possible.
        clusterable: Whether ``clusters`` is possible.
        quantizations: Number formats the exported file can carry for this layer.
        refusals: Why not, by knob (``channels``, ``rank``, ``sparsity``, ``clusters``) or number format (``int4``).
        pattern_floors: Least sparsity of this layer, once it is pruned at all, by the sparsity patterns that ask for
            one (``2:4``).
        pattern_refusals: Why its zeros, or those of one of its kernels, fall back to unstructured, by sparsity pattern.
        least_sparsity: Of this layer, once it is pruned at all, under the pattern of the recipe it is trained with.
        decomposition: What that recipe asks for: how a rank splits the kernel, if it has a window.
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
    inputs_each: tuple[int, ...] = ()
    energies: tuple[float, ...] = ()
    spatial_energies: tuple[float, ...] = ()
    prunable: bool = True
    clusterable: bool = True
    quantizations: tuple[Quantization, ...] = (Quantization.FLOAT32,)
    refusals: Mapping[str, str] = field(default_factory=dict)
    pattern_floors: Mapping[str, float] = field(default_factory=dict)
    pattern_refusals: Mapping[str, str] = field(default_factory=dict)
    least_sparsity: float = 0.0
    decomposition: str = CHANNELS

    def zeros(self, sparsity: float) -> int:
        """Return how many weights a sparsity sets to zero, as tfmot counts them: ``n - round(n * (1 - s))``."""
        return self.weights - round(self.weights * (1 - sparsity))

    def kept_channels(self, fraction: float) -> int:
        """Return how many output channels a kept fraction leaves: the nearest whole number, at least 1."""
        return max(1, round(self.channels * fraction))

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns of the kernel as a matrix: those of the two kernels that a rank splits it into."""
        return matrix_shape(self.weight_shape, self.decomposition)

    @property
    def largest_rank(self) -> int:
        """The largest rank at which two kernels are smaller than one; 0 where it cannot be stored as two."""
        return len(self._energies)

    def rank_of(self, energy: float | None) -> int | None:
        """Return the lowest rank that keeps a share of the squared singular values; ``None`` where none is smaller."""
        if energy is None:
            return None
        place = bisect_left(self._energies, energy - _ROUNDING)
        return place + 1 if place < len(self._energies) else None

    @property
    def _energies(self) -> tuple[float, ...]:
        is_spatial = decomposition_of(self.weight_shape, self.decomposition) == SPATIAL
        return self.spatial_energies if is_spatial else self.energies


def under_recipe(layers: Iterable[LayerSpec], *, pattern: str, decomposition: str) -> tuple[LayerSpec, ...]:
    """Return the layers as they are to be decided about where the recipe asks for a pattern and a decomposition."""
    return tuple(
        replace(spec, least_sparsity=spec.pattern_floors.get(pattern, 0.0), decomposition=decomposition)
        for spec in layers
    )
