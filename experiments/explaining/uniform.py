"""The uniform policy of about the same size: what deciding layer by layer is worth."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.layers import LayerSpec, kept_share
from paretune.spaces.policies.policy import KNOBS, LayerPolicy, Policy
from paretune.spaces.policies.space import Space
from paretune.spaces.results.trial import Trial, TrialState

#: A finished uniform trial serves where its file is at most so much larger or smaller.
_NEAR_ENOUGH = 0.10
#: Untrained files within this of the wanted size count as equally large: the better one is taken.
_EQUALLY_LARGE = 0.05
#: How many policies are measured untrained to find the one of the wanted size.
SHORTLIST = 6


def uniform_policies(space: Space) -> dict[str, tuple[LayerPolicy, Policy]]:
    """Return every policy that decides the same about all layers, as far as they support it; by digest.

    Each with what it would decide about every layer. Policies that leave all layers untouched are left out, and ranks
    are full: a number that suits one layer suits no other.
    """
    untouched = LayerPolicy()
    choices: dict[str, dict[object, None]] = {knob: {getattr(untouched, knob): None} for knob in KNOBS}
    choices["quantization"] = {}
    for parameter in space.parameters:
        if parameter.knob == "rank":
            continue
        choices[parameter.knob].update(dict.fromkeys(parameter.choices))
    choices["quantization"] = choices["quantization"] or {untouched.quantization: None}
    found: dict[str, tuple[LayerPolicy, Policy]] = {}
    for values in itertools.product(*choices.values()):
        wish = LayerPolicy(**dict(zip(choices, values, strict=True)))  # type: ignore[arg-type]  # of the knob's kind
        policy, _ = space.nearest(wish)
        if not policy.is_untouched:
            found.setdefault(policy.digest, (wish, policy))
    return found


def uniform_trial(trials: Iterable[Trial], like: Trial, digests: Iterable[str]) -> Trial | None:
    """Return the finished trial of a uniform policy whose file is nearest in size to a trial's; ``None`` if none is."""
    wanted, known = _size(like), set(digests)
    able = [
        trial
        for trial in trials
        if trial.state is TrialState.COMPLETE
        and trial.rung is Rung.FULL
        and trial.candidate.base == like.candidate.base
        and trial.candidate.policy.digest in known
        and abs(_size(trial) / wanted - 1) <= _NEAR_ENOUGH
    ]
    return min(able, key=lambda trial: abs(math.log(_size(trial) / wanted)), default=None)


def shortlist(
    policies: Iterable[Policy], layers: Sequence[LayerSpec], like: Trial, *, most: int = SHORTLIST
) -> list[Policy]:
    """Return the policies whose files should be nearest in size to a trial's, by the entropy of what they store.

    The same reckoning of the trial's own policy, against the weights in its file, tells how far it is off; what else
    the file holds is taken to be the same in all.
    """
    rows = like.measurement.fidelity.layers if like.measurement is not None else ()
    in_weights = max(1, sum(row.deflated_bytes for row in rows))
    factor = in_weights / _stored_bytes(like.candidate.policy, layers)
    return sorted(policies, key=lambda each: abs(math.log(factor * _stored_bytes(each, layers) / in_weights)))[:most]


def nearest_in_size(untrained: Mapping[str, Mapping[str, float]], wanted: float) -> str | None:
    """Return the digest of the policy whose untrained file is nearest in size; of equally large ones, the best.

    Args:
        untrained: Values by digest of the policy.
        wanted: Deflated bytes.
    """
    distance = {digest: abs(values["size_bytes"] / wanted - 1) for digest, values in untrained.items()}
    near = [digest for digest, off in distance.items() if off <= _EQUALLY_LARGE]
    if near:
        return min(near, key=lambda digest: untrained[digest]["loss"])
    return min(distance, key=lambda digest: distance[digest], default=None)


def _size(trial: Trial) -> float:
    return 0.0 if trial.measurement is None else trial.measurement.values["size_bytes"]


def _stored_bytes(policy: Policy, layers: Sequence[LayerSpec]) -> float:
    total = 0.0
    for spec in layers:
        decided = policy[spec.name]
        kept = 1 - decided.sparsity
        bits = float(decided.quantization.weight_bits)
        if decided.clusters is not None:
            bits = min(bits, math.log2(decided.clusters))
        of_zeros = -kept * math.log2(kept) - (1 - kept) * math.log2(1 - kept) if 0 < kept < 1 else 0.0
        total += kept_share(spec, policy) * spec.weights * (of_zeros + kept * bits) / 8
    return max(total, 1.0)
