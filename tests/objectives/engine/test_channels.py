"""Removed channels stay away through every stage, and sparsity and clusters are about what is left."""

from functools import cache

import numpy as np
import pytest

from paretune.objectives.channels.remover import ChannelRemover
from paretune.objectives.engine.numerics import AS_TFMOT
from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.pipeline.stage_tree import StageTree
from paretune.objectives.pipeline.trainer import Pipeline
from paretune.objectives.reference.stages import ReferenceStages
from paretune.objectives.weights import read_weights
from paretune.spaces.policy import LayerPolicy
from paretune.spaces.recipe import Candidate, Limit, PruneRecipe, Recipe, Rung, StageRecipe, StructureRecipe
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
    cluster=StageRecipe(**SHORT),
    quantize=StageRecipe(**SHORT),
)


@cache
def trained(flow, rung=Rung.FULL, decided=POLICY):
    model = residual_cnn()
    data, weights = noise_for(model), read_weights(model)
    runner = CompiledStages(model, data, numerics=AS_TFMOT) if flow == "compiled" else ReferenceStages(model, data)
    remover = ChannelRemover(model, weights, data.inputs)
    pipeline = Pipeline(model, weights, data.samples, remover, runner, StageTree({}))
    return pipeline.train(Candidate(architecture="", recipe=RECIPE, policy=decided, seed=3), rung, Limit())


@pytest.fixture(params=["compiled", "reference", "untrained"])
def result(request):
    return trained("compiled", Rung.PROXY) if request.param == "untrained" else trained(request.param)


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


def test_clusters_are_those_of_the_weights_that_are_left(result):
    assert len(np.unique(alive(result, "stem"))) <= 6
    assert len(np.unique(alive(result, "head"))) <= 4


def test_the_engine_spends_no_cluster_on_what_is_removed():
    assert 0 not in alive(trained("compiled"), "stem")


def test_the_engine_trains_narrow_layers_as_the_reference_does():
    """Where nothing is clustered: of clusters, tfmot can only spare the removed weights by spending one on zero."""
    decided = policy(
        stem=LayerPolicy(channels=0.6), branch=LayerPolicy(channels=0.6, sparsity=0.5), head=LayerPolicy(sparsity=0.25)
    )
    require_same(trained("compiled", decided=decided).weights, trained("reference", decided=decided).weights)
