"""A policy with one layer let go: what compressing that layer costs, and what it saves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization
from paretune.spaces.results.objective import Direction, Objective


class Evidence(StrEnum):
    """Where the numbers of a policy come from.

    ``measured``: its file was made from weights that were trained for it, as they are; ``trained``: it was trained for
    this; ``estimate``: nothing was trained, and what is told of it is derived from untrained policies.
    """

    MEASURED = "measured"
    TRAINED = "trained"
    ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A candidate's policy with one layer let go.

    Attributes:
        layer: Its name.
        whole: Left as it was before compression, all else as decided.
        in_float32: Kept pruned and clustered, stored as float32; ``None`` where that is not another policy, or would
            need other training.
    """

    layer: str
    whole: Candidate
    in_float32: Candidate | None


def relaxations_of(candidate: Candidate, layers: Sequence[LayerSpec]) -> tuple[Relaxation, ...]:
    """Let go of each layer that a candidate's policy compresses, one at a time."""
    specs = {spec.name: spec for spec in layers}
    found = []
    for name, decided in candidate.policy.items():
        if decided.is_untouched:
            continue
        whole = _with(candidate, name, LayerPolicy())
        plain = specs[name].normal_form(replace(decided, quantization=Quantization.FLOAT32))
        in_float32 = _with(candidate, name, plain)
        is_other = in_float32.policy not in (candidate.policy, whole.policy)
        found.append(Relaxation(name, whole, in_float32 if is_other and is_free(in_float32, candidate) else None))
    return tuple(found)


def is_free(relaxed: Candidate, candidate: Candidate) -> bool:
    """Return whether a candidate needs no training once another one has been trained: they are a family."""
    return relaxed.stem_digest == candidate.stem_digest or not stages_of(relaxed.policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBack:
    """What letting go of a layer changes.

    Attributes:
        evidence: Where it comes from.
        size_bytes: By how much the deflated file grows.
        metric: By how much the task's metric rises.
        latency_ratio: By how much the latency rises; ``None`` where it was not measured.
    """

    evidence: Evidence
    size_bytes: float
    metric: float
    latency_ratio: float | None = None


def measured_change(
    before: Mapping[str, float], after: Mapping[str, float], metric: str, evidence: Evidence
) -> GivenBack:
    """Return what has changed between two files."""
    return GivenBack(
        evidence=evidence,
        size_bytes=after["size_bytes"] - before["size_bytes"],
        metric=after[metric] - before[metric],
        latency_ratio=after["latency_ratio"] - before["latency_ratio"],
    )


def estimated_change(
    *,
    trained: Mapping[str, float],
    base: Mapping[str, float],
    untrained: Mapping[str, float],
    relaxed: Mapping[str, float],
    metric: Objective,
) -> GivenBack:
    """Estimate what letting go of a layer gives back, without training.

    Bytes are the difference of the two untrained files. Training mends most of what a policy breaks, and mends it
    together: what the trained file still lacks of the base model's metric is shared out by how much of the untrained
    policy's loss goes with this layer. Nothing is given back where nothing is lacking.

    Args:
        trained: Values of the trial.
        base: Values of its model before compression.
        untrained: Of the trial's policy, untrained.
        relaxed: Of the same with the layer let go, untrained.
        metric: The task's metric.
    """
    sign = 1.0 if metric.direction is Direction.MAXIMIZE else -1.0
    lacking = max(0.0, sign * (base[metric.name] - trained[metric.name]))
    broken = untrained["loss"] - base["loss"]
    mended = untrained["loss"] - relaxed["loss"]
    share = min(1.0, max(0.0, mended / broken)) if broken > 0 else 0.0
    return GivenBack(
        evidence=Evidence.ESTIMATE,
        size_bytes=relaxed["size_bytes"] - untrained["size_bytes"],
        metric=sign * lacking * share,
    )


def _with(candidate: Candidate, layer: str, decided: LayerPolicy) -> Candidate:
    entries = ((name, decided if name == layer else own) for name, own in candidate.policy.items())
    return replace(candidate, policy=Policy(tuple(entries)))
