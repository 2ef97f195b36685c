"""Removed channels stay away through every stage, and sparsity and clusters are about what is left."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from paretune.objectives.channels.remover import ChannelRemover
from paretune.objectives.engine.numerics import AS_TFMOT
from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.kernels.cluster_lines import lines_of
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.pipeline.stage_tree import StageTree
from paretune.objectives.pipeline.trainer import Pipeline
from paretune.objectives.reference.stages import ReferenceStages
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import (
    CHANNEL,
    CLUSTER_SCOPES,
    TENSOR,
    ClusterRecipe,
    PruneRecipe,
    StageRecipe,
    StructureRecipe,
)
from paretune.spaces.policies.policy import LayerPolicy
from tests.objectives.engine.small_models import QAT, noise_for, policy, require_same, residual_cnn

pytestmark = pytest.mark.tensorflow

POLICY = policy(
    stem=LayerPolicy(channels=0.6, clusters=6, quantization=QAT),
    branch=LayerPolicy(channels=0.6, sparsity=0.5),
    head=LayerPolicy(sparsity=0.25, clusters=4, quantization=QAT),
)
SHORT = {"batch_size": 8, "epochs": 1.0}
RECIPE = Recipe(
    structure=StructureRecipe(**SHORT),
    prune=PruneRecipe(**SHORT, frequency=1),
    cluster=ClusterRecipe(**SHORT),
    quantize=StageRecipe(**SHORT),
)


@cache
def trained(flow, rung=Rung.FULL, decided=POLICY, scope=TENSOR):
    model = residual_cnn()
    data, weights = noise_for(model), read_weights(model)
    runner = CompiledStages(model, data, numerics=AS_TFMOT) if flow == "compiled" else ReferenceStages(model, data)
    remover = ChannelRemover(model, weights, data.inputs)
    pipeline = Pipeline(model, weights, data.samples, remover, runner, StageTree({}))
    recipe = replace(RECIPE, cluster=replace(RECIPE.cluster, scope=scope))
    return pipeline.train(Candidate(architecture="", recipe=recipe, policy=decided, seed=3), rung, Limit())


#: tfmot has one set of clusters where a channel has no weights.
CASES = [
    *((flow, scope) for flow in ("compiled", "untrained") for scope in CLUSTER_SCOPES),
    pytest.param(("reference", TENSOR), marks=pytest.mark.slow),
]


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    return request.param


@pytest.fixture
def result(case):
    flow, scope = case
    if flow == "untrained":
        return trained("compiled", Rung.PROXY, scope=scope)
    return trained(flow, scope=scope)


def alive(result, name):
    """Return the part of a kernel that is left."""
    kept = result.kept["stem"]
    kernel = result.weights[name][0]
    made = kernel if name == "head" else kernel[..., kept]
    return made if name == "stem" else made[..., kept, :]


def test_what_makes_or_reads_removed_channels_is_zero_in_the_end(result):
    gone = ~result.kept["stem"]
    assert gone.sum() == 2
    for kernel in (result.weights["stem"][0], result.weights["branch"][0]):
        assert not kernel[..., gone].any()
    assert not result.weights["branch"][0][:, :, gone].any()
    assert not result.weights["head"][0][gone].any()


def test_sparsity_is_a_share_of_the_weights_that_are_left(result):
    zeros = {name: np.count_nonzero(alive(result, name) == 0) for name in ("branch", "head")}
    sizes = {name: alive(result, name).size for name in zeros}
    wanted = {name: size - round(size * (1 - POLICY[name].sparsity)) for name, size in sizes.items()}
    assert zeros["branch"] == wanted["branch"]
    assert zeros["head"] >= wanted["head"]  # clustered too: small weights join the cluster of the zeros


def sets(result, name, scope):
    """Return, for each set of clusters, the weights that are left."""
    kernel = alive(result, name)
    return lines_of(kernel, None if scope == TENSOR else kernel.ndim - 1)


def test_clusters_are_those_of_the_weights_that_are_left(result, case):
    _, scope = case
    assert all(len(np.unique(line)) <= 6 for line in sets(result, "stem", scope))
    assert all(len(np.unique(line)) <= 4 for line in sets(result, "head", scope))


@pytest.mark.parametrize("scope", [TENSOR, pytest.param(CHANNEL, marks=pytest.mark.slow)])
def test_the_engine_spends_no_cluster_on_what_is_removed(scope):
    clusters = {"stem": 3, "branch": 3, "head": 2}
    decided = policy(
        stem=LayerPolicy(channels=0.6, clusters=3),
        branch=LayerPolicy(channels=0.6, clusters=3, quantization=QAT),
        head=LayerPolicy(clusters=2),
    )
    for rung in (Rung.FULL, Rung.PROXY):
        result = trained("compiled", rung, decided, scope)
        for name, count in clusters.items():
            for line in sets(result, name, scope):
                assert 0 not in line
                assert len(np.unique(line)) == count


def test_the_engine_trains_narrow_layers_as_the_reference_does():
    """Where nothing is clustered: of clusters, tfmot can only spare the removed weights by spending one on zero."""
    decided = policy(
        stem=LayerPolicy(channels=0.6), branch=LayerPolicy(channels=0.6, sparsity=0.5), head=LayerPolicy(sparsity=0.25)
    )
    require_same(trained("compiled", decided=decided).weights, trained("reference", decided=decided).weights)
