"""Kernels stay of low rank through every stage."""

from functools import cache

import numpy as np
import pytest

from paretune.objectives.channels.remover import ChannelRemover
from paretune.objectives.engine.numerics import AS_TFMOT
from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.pipeline.stage_tree import StageTree
from paretune.objectives.pipeline.trainer import Pipeline
from paretune.objectives.ranks.spectrum import energies, factors, largest_rank, nearest_of_rank
from paretune.objectives.reference.stages import ReferenceStages
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, PruneRecipe, StageRecipe, StructureRecipe
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from tests.objectives.engine.small_models import QAT, noise_for, policy, require_same, residual_cnn

pytestmark = pytest.mark.tensorflow

SHORT = {"batch_size": 8, "epochs": 1.0}
RECIPE = Recipe(
    structure=StructureRecipe(**SHORT),
    prune=PruneRecipe(**SHORT, frequency=1),
    cluster=ClusterRecipe(**SHORT),
    quantize=StageRecipe(**SHORT),
)
#: Every stage trains something else.
POLICY = policy(
    stem=LayerPolicy(rank=2, quantization=Quantization.INT8),
    branch=LayerPolicy(sparsity=0.5, clusters=6),
    head=LayerPolicy(sparsity=0.25, quantization=QAT),
)
#: The kernel loses channels too.
NARROW = policy(stem=LayerPolicy(channels=0.8, rank=2), branch=LayerPolicy(channels=0.8, rank=3), head=LayerPolicy())


@cache
def trained(flow, rung=Rung.FULL, decided=POLICY):
    model = residual_cnn()
    data, weights = noise_for(model), read_weights(model)
    runner = CompiledStages(model, data, numerics=AS_TFMOT) if flow == "compiled" else ReferenceStages(model, data)
    remover = ChannelRemover(model, weights, data.inputs)
    pipeline = Pipeline(model, weights, data.samples, remover, runner, StageTree({}))
    return pipeline.train(Candidate(architecture="", recipe=RECIPE, policy=decided, seed=3), rung, Limit())


def matrix(kernel):
    return kernel.reshape(-1, kernel.shape[-1])


def rank_of(kernel):
    return np.linalg.matrix_rank(matrix(kernel), tol=1e-6)


@pytest.mark.slow
def test_a_kernel_keeps_its_rank_while_it_is_trained():
    untrained, result = (trained("compiled", rung).weights["stem"][0] for rung in (Rung.PROXY, Rung.FULL))
    assert rank_of(untrained) == rank_of(result) == 2
    assert np.abs(untrained - result).max() > 1e-3


@pytest.mark.parametrize("rung", [Rung.PROXY, Rung.FULL])
def test_a_kernel_of_low_rank_lacks_its_removed_channels_and_those_that_it_reads(rung):
    result = trained("compiled", rung, NARROW)
    gone = ~result.kept["stem"]
    assert gone.sum() == 1
    for name, rank in (("stem", 2), ("branch", 3)):
        kernel = result.weights[name][0]
        assert rank_of(kernel) == rank
        assert not kernel[..., gone].any()
        assert kernel[..., ~gone].any()
    assert not result.weights["branch"][0][:, :, gone].any()


@pytest.mark.parametrize(
    "decided", [pytest.param(POLICY, marks=pytest.mark.slow, id="every stage"), pytest.param(NARROW, id="narrow")]
)
def test_the_engine_trains_low_ranks_as_the_reference_does(decided):
    require_same(trained("compiled", decided=decided).weights, trained("reference", decided=decided).weights)


@pytest.mark.parametrize("shape", [(3, 3, 4, 12), (30, 8), (8, 30)])
def test_energies_are_those_of_the_singular_values(shape):
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    squares = np.linalg.svd(matrix(kernel), compute_uv=False) ** 2
    rank = largest_rank(shape)
    inputs, outputs = matrix(kernel).shape
    assert rank * (inputs + outputs) < kernel.size <= (rank + 1) * (inputs + outputs)
    np.testing.assert_allclose(energies(kernel), np.cumsum(squares)[:rank] / squares.sum(), atol=1e-6)
    low = nearest_of_rank(kernel, 2)
    np.testing.assert_allclose(np.sum(np.square(low)) / squares.sum(), energies(kernel)[1], rtol=1e-5)
    one, other = factors(matrix(kernel), 2)
    np.testing.assert_allclose(one @ other, matrix(low), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(one, axis=0), np.linalg.norm(other, axis=1), rtol=1e-5)
