"""The profile of a model: what each decision costs on its own, before anything is trained."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from paretune.search.additive.amounts import rises_of
from paretune.search.additive.encoding import Encoding, Option, Unit
from paretune.search.front import FloatArray
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.proxy import Proxy

#: Up to this many options are measured one by one; of larger spaces, each knob of each layer is.
MOST_SINGLES = 240
#: Random pairs of decisions, which show how far the effects of two decisions add up.
PAIRS = 8


class ProfilePlan:
    """Which policies a profile measures.

    Every unit's options alone, while all others take their first, if there are at most :data:`MOST_SINGLES`; otherwise
    each choice of each parameter alone, and a cover: policies in which every unit walks through its options, so that
    the bytes of each are measured all the same. And a few random pairs. Where amounts (operations, memory) are asked,
    each choice of a knob for all layers at once too, because these need not add up.

    Args:
        encoding: The space.
        seed: Draws the pairs.
        amounts: Names of the objectives that :func:`~paretune.search.additive.amounts.rises_of` is to tell.

    Attributes:
        encoding: The space that is profiled, as options of units.
        space: The same.
        units: Its units.
        is_whole: Whether every option is measured alone.
        amounts: As given.
    """

    def __init__(self, encoding: Encoding, *, seed: int = 0, amounts: Sequence[str] = ()) -> None:
        self.encoding = encoding
        self.space = encoding.space
        self.units = encoding.units
        self.is_whole = sum(len(unit.options) - 1 for unit in self.units) <= MOST_SINGLES
        self._base = {parameter.name: 0 for parameter in self.space.parameters}
        self.amounts = tuple(amounts)
        self._seed = seed
        self._digest_of_part: dict[tuple[str, int], str] = {}

    @cached_property
    def base(self) -> Policy:
        """The policy that takes the first choice of every parameter."""
        return self.space.policy(self._base)

    def single(self, option: Option) -> Policy:
        """Return the policy of one option alone."""
        return self.space.policy({**self._base, **option.choice})

    @cached_property
    def singles(self) -> tuple[tuple[Unit, Option], ...]:
        """The options that are measured alone."""
        return tuple((unit, option) for unit in self.units for option in self._measured_alone(unit))

    @cached_property
    def cover(self) -> tuple[Policy, ...]:
        """Policies that show the bytes of every option; none where every option is measured alone."""
        if self.is_whole:
            return ()
        distinct = [_of_distinct_bytes(unit) for unit in self.units if not unit.is_width]
        if not distinct:
            return ()
        most = max(len(options) for options in distinct)
        return tuple(
            self.space.policy({**self._base, **_merged(options[turn % len(options)] for options in distinct)})
            for turn in range(most)
        )

    @cached_property
    def uniform(self) -> Mapping[tuple[str, Any], Policy]:
        """Policies that choose the same about every layer that offers it, by knob and value; none without amounts."""
        found: dict[tuple[str, Any], dict[str, int]] = {}
        for parameter in self.space.parameters if self.amounts else ():
            for index, value in enumerate(parameter.choices):
                if index:
                    found.setdefault((parameter.knob, value), {})[parameter.name] = index
        return {part: self.space.policy({**self._base, **choice}) for part, choice in found.items()}

    @cached_property
    def pairs(self) -> tuple[tuple[Option, Option], ...]:
        """Random pairs of options of different units, drawn from those that are measured alone."""
        draws = random.Random(self._seed)  # noqa: S311  # no secret depends on it
        by_unit = ([option for other, option in self.singles if other is unit] for unit in self.units)
        able = [options for options in by_unit if options]
        if len(able) < 2:
            return ()
        found = []
        for _ in range(PAIRS):
            first, second = draws.sample(able, 2)
            found.append((draws.choice(first), draws.choice(second)))
        return tuple(found)

    def pair(self, options: tuple[Option, Option]) -> Policy:
        """Return the policy of two options together."""
        return self.space.policy({**self._base, **options[0].choice, **options[1].choice})

    def policies(self) -> tuple[Policy, ...]:
        """Return everything that is measured, each policy once."""
        wanted = [
            self.base,
            *(self.single(option) for _, option in self.singles),
            *self.cover,
            *(self.pair(pair) for pair in self.pairs),
            *self.uniform.values(),
        ]
        return tuple({policy.digest: policy for policy in wanted}.values())

    def digests_of(self, option: Option) -> tuple[str, ...]:
        """Return the digests of the policies that tell what an option costs: its own, or one a choice."""
        taken = {name: index for name, index in option.choice.items() if index}
        if self.is_whole or not taken:
            return (self.single(option).digest,)
        return tuple(self.digest_of_part(name, index) for name, index in taken.items())

    def digest_of_part(self, name: str, index: int) -> str:
        """Return the digest of the policy that one choice of one parameter makes alone."""
        if (name, index) not in self._digest_of_part:
            self._digest_of_part[name, index] = self.space.policy({**self._base, name: index}).digest
        return self._digest_of_part[name, index]

    def _measured_alone(self, unit: Unit) -> Iterator[Option]:
        for option in unit.options[1:]:
            if self.is_whole or sum(index > 0 for index in option.choice.values()) == 1:
                yield option


@dataclass(frozen=True, slots=True)
class OptionCosts:
    """What the options of a unit cost, beside its first one; infinite where it could not be measured.

    Attributes:
        loss: Rise of the validation loss, at least 0; shape (options,).
        metric: Change of the task's metric for the worse; may be below 0, by noise.
        latency: Rise of the latency ratio; 0 where it was not measured.
        bytes: Deflated bytes of the file that depend on the option: its weights, and what goes with their formats. Of
            an option about channels, by how many the whole file changes: it depends on what else is decided, see
            :mod:`paretune.search.additive.widths`.
        amounts: Rise of every other objective asked for, by name.
    """

    loss: FloatArray
    metric: FloatArray
    latency: FloatArray
    bytes: FloatArray
    amounts: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Additivity:
    """How far two decisions cost what they cost one by one.

    Attributes:
        sums: For every pair, the sum of the single rises of the loss.
        together: The rise of the loss under both.
    """

    sums: tuple[float, ...]
    together: tuple[float, ...]

    @property
    def median_ratio(self) -> float:
        """Median of what a pair costs over the sum of its parts, of pairs that cost something; 1 is additive."""
        ratios = [both / one for one, both in zip(self.sums, self.together, strict=True) if one > 1e-3]
        return float(np.median(ratios)) if ratios else 1.0

    def __str__(self) -> str:
        counted = sum(one > 1e-3 for one in self.sums)
        return f"{counted} pairs of decisions cost {self.median_ratio:.2f} times the sum of their parts (median)"


@dataclass(frozen=True, slots=True)
class Profile:
    """What every option costs on its own.

    Attributes:
        units: The units of the space.
        costs: Of the options of each unit.
        base: What the policy of all first options measures.
        additivity: What the pairs showed.
        fixed_bytes: Deflated bytes of the file that no option changes.
    """

    units: tuple[Unit, ...]
    costs: tuple[OptionCosts, ...]
    base: Proxy
    additivity: Additivity
    fixed_bytes: float

    @property
    def amounts(self) -> tuple[str, ...]:
        """Names of the objectives whose rises are told beside loss, bytes and latency."""
        return tuple(self.costs[0].amounts) if self.costs else ()


def read_profile(plan: ProfilePlan, proxies: Mapping[str, Proxy], metric: str, sign: int) -> Profile | None:
    """Read a profile from what was measured.

    Args:
        plan: What was to be measured.
        proxies: By digest of the policy; those that could not be measured are missing, those that are not of the
            plan do not matter.
        metric: Name of the task's metric.
        sign: 1 where more of it is better, -1 where less is.

    Returns:
        ``None`` if even the first options could not be measured.
    """
    digests = [policy.digest for policy in plan.policies()]
    proxies = {digest: proxies[digest] for digest in digests if digest in proxies}
    base = proxies.get(plan.base.digest)
    if base is None:
        return None
    base = proxies[plan.base.digest] = _of_known_latency(base)
    of_file = _FileBytes(list(proxies.values()))
    rises = {name: rises_of(plan, name, proxies, base) for name in plan.amounts}
    costs = []
    for place, unit in enumerate(plan.units):
        rows = [_option_row(plan, option, proxies, base, metric=metric, sign=sign) for option in unit.options]
        loss, worse, latency = np.array(rows).T
        if unit.is_width:
            weights = np.array([_file_change(plan, option, proxies, base) for option in unit.options])
        else:
            weights = np.array([of_file.of_layers(unit.layers, option.decided) for option in unit.options])
        amounts = {name: of_units[place] for name, of_units in rises.items()}
        costs.append(OptionCosts(loss=loss, metric=worse, latency=latency, bytes=weights, amounts=amounts))
    searched = {layer for unit in plan.units if not unit.is_width for layer in unit.layers}
    pinned = [(name, decided) for name, decided in base.policy.items() if name not in searched]
    names, decisions = [name for name, _ in pinned], [decided for _, decided in pinned]
    return Profile(
        units=plan.units,
        costs=tuple(costs),
        base=base,
        additivity=_additivity(plan, proxies, base),
        fixed_bytes=of_file.constant + of_file.of_layers(names, decisions),
    )


def _option_row(
    plan: ProfilePlan, option: Option, proxies: Mapping[str, Proxy], base: Proxy, *, metric: str, sign: int
) -> tuple[float, float, float]:
    """Return rise of the loss, worsening of the metric and rise of the latency of one option."""
    parts = [proxies.get(digest) for digest in plan.digests_of(option)]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return np.inf, np.inf, np.inf
    return (
        max(0.0, sum(part.values["loss"] - base.values["loss"] for part in found)),
        sum(sign * (base.values[metric] - part.values[metric]) for part in found),
        sum(_latency(part, base) - _latency(base, base) for part in found),
    )


def _file_change(plan: ProfilePlan, option: Option, proxies: Mapping[str, Proxy], base: Proxy) -> float:
    measured = proxies.get(plan.single(option).digest)
    return np.inf if measured is None else measured.values["size_bytes"] - base.values["size_bytes"]


def _latency(proxy: Proxy, base: Proxy) -> float:
    """Return a latency ratio; that of the base where it was not measured, because formats and ranks decide it."""
    return proxy.values.get("latency_ratio", base.values.get("latency_ratio", 0.0))


def _of_known_latency(base: Proxy) -> Proxy:
    """Put the latency ratio of the uncompressed model right: it is 1, whatever one noisy measurement of it says.

    Every rise is told from it, so that one that was measured too slow would make whatever changes nothing look faster,
    once for every layer.
    """
    if not base.policy.is_untouched or "latency_ratio" not in base.values:
        return base
    return replace(base, values={**base.values, "latency_ratio": 1.0})


def _additivity(plan: ProfilePlan, proxies: Mapping[str, Proxy], base: Proxy) -> Additivity:
    sums, together = [], []
    for pair in plan.pairs:
        policies = [plan.single(pair[0]), plan.single(pair[1]), plan.pair(pair)]
        found = [proxies[policy.digest] for policy in policies if policy.digest in proxies]
        if len(found) == len(policies):
            first, second, both = (proxy.values["loss"] - base.values["loss"] for proxy in found)
            sums.append(first + second)
            together.append(both)
    return Additivity(tuple(sums), tuple(together))


class _FileBytes:
    """Where the bytes of a file go: weights layer by layer, as measured; scales, operators and the like, fitted.

    Attributes:
        constant: What every file takes.
    """

    def __init__(self, proxies: Sequence[Proxy]) -> None:
        proxies = [proxy for proxy in proxies if all(decided.channels == 1 for decided in proxy.policy.values())]
        self._weights = {
            (name, _same_bytes(decided)): proxy.layer_bytes[name]
            for proxy in proxies
            for name, decided in proxy.policy.items()
            if name in proxy.layer_bytes
        }
        formats = list(Quantization)
        counts = [_counts([*proxy.policy.values()], formats) for proxy in proxies]
        rest = [proxy.values["size_bytes"] - sum(proxy.layer_bytes.values()) for proxy in proxies]
        design = np.asarray(counts)
        # held near 0 where formats always come together, so that it can be solved
        gram = design.T @ design + np.diag([1e-6, *([1e-3] * (len(formats) + 1))])
        self.constant, self._by_rank, *by_format = np.linalg.solve(gram, design.T @ np.asarray(rest)).tolist()
        self._by_format = dict(zip(formats, by_format, strict=True))

    def of_layers(self, layers: Sequence[str], decided: Sequence[LayerPolicy]) -> float:
        """Return the bytes of these layers; infinite where one was never measured so."""
        return math.fsum(
            self._weights.get((name, _same_bytes(each)), np.inf)
            + self._by_format[each.quantization]
            + (0.0 if each.rank is None else self._by_rank)
            for name, each in zip(layers, decided, strict=True)
        )


def _counts(decided: Sequence[LayerPolicy], formats: Sequence[Quantization]) -> list[float]:
    """Return what the bytes beside the weights are told by: 1, how many layers have a rank, and each format."""
    used = [each.quantization for each in decided]
    ranked = sum(each.rank is not None for each in decided)
    return [1.0, float(ranked), *(float(used.count(mode)) for mode in formats)]


#: Formats that store a weight in the same way.
_STORED_ALIKE = {
    Quantization.INT8_QAT: Quantization.INT8,
    Quantization.DYNAMIC_INT8: Quantization.INT8,
    Quantization.INT16X8: Quantization.INT8,
}


def _same_bytes(decided: LayerPolicy) -> LayerPolicy:
    """Return the decision that stands for all that give the same stored weights before training."""
    form = _STORED_ALIKE.get(decided.quantization, decided.quantization)
    return LayerPolicy(rank=decided.rank, sparsity=decided.sparsity, clusters=decided.clusters, quantization=form)


def _of_distinct_bytes(unit: Unit) -> list[Mapping[str, int]]:
    found: dict[tuple[LayerPolicy, ...], Mapping[str, int]] = {}
    for option in unit.options:
        found.setdefault(tuple(_same_bytes(decided) for decided in option.decided), option.choice)
    return list(found.values())


def _merged(choices: Iterator[Mapping[str, int]]) -> dict[str, int]:
    return {name: index for choice in choices for name, index in choice.items()}
