"""Ranks in the funnel: what they do to bytes, to training, and beside removed channels."""

from dataclasses import replace

import numpy as np
import pytest

from paretune.search.additive.encoding import Encoding
from paretune.search.additive.profile import ProfilePlan, read_profile
from paretune.search.additive.widths import Widths
from paretune.search.funnel.stems import TrainingCost
from paretune.spaces.policies.building import SpaceSettings, build_space
from paretune.spaces.policies.decompositions import CHANNELS, DECOMPOSITIONS
from paretune.spaces.policies.policy import Policy
from paretune.spaces.policies.shares import kept_share
from paretune.spaces.policies.space import Space
from paretune.spaces.results.proxy import Proxy
from tests.fakes import layer_specs
from tests.search.problems import a_problem

#: Energies of the kernels of ``layer_specs``: of 72 x 10 and of 72 x 20, as far as ranks make them smaller.
ENERGIES = {"conv0": (0.5, 0.7, 0.8, 0.9, 0.92, 0.94, 0.95, 0.96), "conv1": (0.6, 0.8, 0.9)}
CHOICES = {"rank": (None, 0.8, 0.5), "sparsity": (0.0, 0.5), "clusters": (None,), "quantization": ("float32", "int8")}


def a_space(decomposition: str = CHANNELS) -> Space:
    """Return two layers that may have ranks; the second reads the first, which may lose channels."""
    first, second = (replace(spec, decomposition=decomposition) for spec in layer_specs(2))
    layers = (
        replace(
            first,
            channels=10,
            channel_group="conv0",
            energies=ENERGIES["conv0"],
            spatial_energies=ENERGIES["conv0"],
        ),
        replace(second, reads=("conv0",), energies=ENERGIES["conv1"], spatial_energies=ENERGIES["conv1"]),
    )
    return build_space(layers, SpaceSettings(choices={**CHOICES, "channels": (1.0, 0.8)}))


SPACE = a_space()
ENCODING = Encoding(SPACE)
#: Of each layer: without a rank, two sparsities in two formats; two ranks in two formats.
OPTIONS = 4 + 4


def test_a_rank_is_one_more_decision_about_its_layer() -> None:
    assert [unit.is_width for unit in ENCODING.units] == [True, False, False]
    assert [len(unit.options) for unit in ENCODING.units] == [2, OPTIONS, OPTIONS]


@pytest.mark.parametrize("width", [0, 1])
@pytest.mark.parametrize("option", range(OPTIONS))
@pytest.mark.parametrize("how", DECOMPOSITIONS)
def test_removed_channels_narrow_the_two_kernels_of_a_rank_as_they_narrow_policies(
    width: int, option: int, how: str
) -> None:
    encoding = Encoding(a_space(how))
    rows = np.array([[width, option, option]])
    policy = encoding.policy_of(rows[0].tolist())
    whole = encoding.policy_of([0, option, option])
    for unit, spec in enumerate(encoding.space.layers, start=1):
        expected = kept_share(spec, policy) / kept_share(spec, whole)
        assert Widths(encoding).of_unit(unit, rows)[0] == pytest.approx(expected)


def test_another_rank_is_another_stem() -> None:
    problem = replace(a_problem(), space=SPACE)
    cost = TrainingCost(problem, ENCODING)
    ranked = [number for number, each in enumerate(ENCODING.units[1].options) if each.decided[0].rank is not None]
    whole, *costs = cost.of(np.array([[0, 0, 0], *([0, number, 0] for number in ranked)]))
    assert len(ranked) == 4
    assert all(each > whole for each in costs)
    rank = [each.decided[0].rank for each in ENCODING.units[1].options]
    for number in ranked:  # other formats are leaves, other ranks are not
        assert {rank[leaf] for leaf in cost.leaves([[0, number, 0]])[:, 1]} == {rank[number]}


def a_proxy(policy: Policy) -> Proxy:
    """Measure a file of 500 bytes beside its weights, of which a second kernel takes 100 more."""
    layer_bytes = {
        spec.name: round(
            kept_share(spec, policy)
            * spec.weights
            * (1 - policy[spec.name].sparsity)
            * policy[spec.name].quantization.weight_bits
            / 8
        )
        for spec in SPACE.layers
    }
    second = sum(100 for decided in policy.values() if decided.rank is not None)
    values = {"size_bytes": 500 + sum(layer_bytes.values()) + second, "loss": 1.0, "accuracy": 0.5}
    return Proxy(base="a", policy=policy, values=values, layer_bytes=layer_bytes, seconds=0.1)


def test_the_profile_tells_the_bytes_of_every_rank() -> None:
    plan = ProfilePlan(ENCODING)
    proxies = {policy.digest: a_proxy(policy) for policy in plan.policies()}
    profile = read_profile(plan, proxies, "accuracy", 1)
    assert profile is not None
    for number in range(OPTIONS):
        row = [0, number, OPTIONS - 1 - number]
        told = profile.fixed_bytes + sum(profile.costs[unit].bytes[row[unit]] for unit in (1, 2))
        assert told == pytest.approx(a_proxy(ENCODING.policy_of(row)).values["size_bytes"], abs=2)
