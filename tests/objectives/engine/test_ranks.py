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
from paretune.objectives.ranks.spectrum import as_kernel, as_matrix, energies, factors, nearest_of_rank
from paretune.objectives.reference.stages import ReferenceStages
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, PruneRecipe, StageRecipe, StructureRecipe
from paretune.spaces.policies.decompositions import CHANNELS, SPATIAL, largest_rank
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.policies.quantization import Quantization
from tests.objectives.engine.small_models import QAT, noise_for, policy, require_same, residual_cnn

pytestmark = pytest.mark.tensorflow

SHORT = {"batch_size": 8, "epochs": 1.0}
RECIPES = {
    how: Recipe(
        structure=StructureRecipe(**SHORT, decomposition=how),
        prune=PruneRecipe(**SHORT, frequency=1),
        cluster=ClusterRecipe(**SHORT),
        quantize=StageRecipe(**SHORT),
    )
    for how in (CHANNELS, SPATIAL)
}
#: Every stage trains something else.
POLICY = policy(
    stem=LayerPolicy(rank=2, quantization=Quantization.INT8),
    branch=LayerPolicy(sparsity=0.5, clusters=6),
    head=LayerPolicy(sparsity=0.25, quantization=QAT),
)
#: The kernel loses channels too.
NARROW = policy(stem=LayerPolicy(channels=0.8, rank=2), branch=LayerPolicy(channels=0.8, rank=3), head=LayerPolicy())


@cache
def pipeline(flow):
    """Return what trains every candidate of a flow, one after the other, as a worker does."""
    model = residual_cnn()
    data, weights = noise_for(model), read_weights(model)
    runner = CompiledStages(model, data, numerics=AS_TFMOT) if flow == "compiled" else ReferenceStages(model, data)
    remover = ChannelRemover(model, weights, data.inputs)
    return Pipeline(model, weights, data.samples, remover, runner, StageTree({}))


@cache
def trained(flow, rung=Rung.FULL, decided=POLICY, how=CHANNELS):
    return pipeline(flow).train(Candidate(architecture="", recipe=RECIPES[how], policy=decided, seed=3), rung, Limit())


def rank_of(kernel, how=CHANNELS):
    return np.linalg.matrix_rank(as_matrix(kernel, how), tol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("how", [CHANNELS, SPATIAL])
def test_a_kernel_keeps_its_rank_while_it_is_trained(how):
    untrained, result = (trained("compiled", rung, how=how).weights["stem"][0] for rung in (Rung.PROXY, Rung.FULL))
    assert rank_of(untrained, how) == rank_of(result, how) == 2
    assert np.abs(untrained - result).max() > 1e-3


@pytest.mark.parametrize("rung", [Rung.PROXY, Rung.FULL])
@pytest.mark.parametrize("how", [CHANNELS, SPATIAL])
def test_a_kernel_of_low_rank_lacks_its_removed_channels_and_those_that_it_reads(rung, how):
    result = trained("compiled", rung, NARROW, how)
    gone = ~result.kept["stem"]
    assert gone.sum() == 1
    for name, rank in (("stem", 2), ("branch", 3)):
        kernel = result.weights[name][0]
        assert rank_of(kernel, how) == rank
        assert not kernel[..., gone].any()
        assert kernel[..., ~gone].any()
    assert not result.weights["branch"][0][:, :, gone].any()


@pytest.mark.parametrize(
    ("decided", "how"),
    [
        pytest.param(NARROW, CHANNELS, id="narrow"),
        pytest.param(NARROW, SPATIAL, id="narrow, spatial", marks=pytest.mark.slow),
        pytest.param(POLICY, CHANNELS, id="every stage", marks=pytest.mark.slow),
        pytest.param(POLICY, SPATIAL, id="every stage, spatial", marks=pytest.mark.slow),
    ],
)
def test_the_engine_trains_low_ranks_as_the_reference_does(decided, how):
    compiled, reference = (trained(flow, decided=decided, how=how).weights for flow in ("compiled", "reference"))
    require_same(compiled, reference)


def test_a_decomposition_does_not_matter_to_a_policy_without_ranks():
    decided = policy(stem=LayerPolicy(channels=0.8), branch=LayerPolicy(channels=0.8), head=LayerPolicy())
    require_same(*(trained("compiled", Rung.PROXY, decided, how).weights for how in (CHANNELS, SPATIAL)))
    stems = {Candidate(architecture="", recipe=RECIPES[how], policy=decided).stem_digest for how in (CHANNELS, SPATIAL)}
    assert len(stems) == 1


def test_a_spatial_matrix_has_a_row_for_each_row_of_the_window_and_each_input():
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    matrix = as_matrix(kernel, SPATIAL)
    assert matrix.shape == (2 * 4, 3 * 5)
    assert matrix[1 * 4 + 2, 2 * 5 + 3] == kernel[1, 2, 2, 3]
    np.testing.assert_array_equal(as_kernel(matrix, kernel.shape, SPATIAL), kernel)
    line = kernel[:1]  # of one row: no window
    np.testing.assert_array_equal(as_matrix(line, SPATIAL), line.reshape(3 * 4, 5))


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((3, 3, 4, 12), CHANNELS),
        ((3, 2, 4, 12), SPATIAL),
        ((3, 3, 12, 4), SPATIAL),
        ((30, 8), SPATIAL),
        ((8, 30), CHANNELS),
    ],
)
def test_energies_are_those_of_the_singular_values(shape, how):
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    matrix = as_matrix(kernel, how)
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    rank = largest_rank(shape, how)
    inputs, outputs = matrix.shape
    assert rank * (inputs + outputs) < kernel.size <= (rank + 1) * (inputs + outputs)
    np.testing.assert_allclose(energies(kernel, how), np.cumsum(squares)[:rank] / squares.sum(), atol=1e-6)
    low = nearest_of_rank(kernel, 2, how)
    np.testing.assert_allclose(np.sum(np.square(low)) / squares.sum(), energies(kernel, how)[1], rtol=1e-5)
    one, other = factors(matrix, 2)
    np.testing.assert_allclose(one @ other, as_matrix(low, how), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(one, axis=0), np.linalg.norm(other, axis=1), rtol=1e-5)
