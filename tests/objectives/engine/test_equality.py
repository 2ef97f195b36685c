"""The compiled stages compute what tfmot computes, to the last bit."""

from functools import cache

import numpy as np
import pytest

from paretune.objectives.engine.numerics import AS_TFMOT, FAST, nearest_by_distance
from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.kernels.cluster_lines import lines_of
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.pipeline.centroid_start import present_centroids
from paretune.objectives.reference import quantize_aware
from paretune.objectives.reference.stages import ReferenceStages
from paretune.spaces.policies.policy import LayerPolicy
from tests.objectives.engine.small_models import (
    QAT,
    attention,
    depthwise_cnn,
    mlp,
    noise_for,
    policy,
    require_same,
    residual_cnn,
    run,
    task,
)

pytestmark = pytest.mark.tensorflow

MODELS = {"residual_cnn": residual_cnn, "mlp": mlp, "depthwise_cnn": depthwise_cnn}

MIXED = {
    "residual_cnn": policy(
        stem=LayerPolicy(sparsity=0.5, clusters=6, quantization=QAT),
        branch=LayerPolicy(sparsity=0.75, quantization=QAT),
        head=LayerPolicy(clusters=5, quantization=QAT),
    ),
    "mlp": policy(
        first=LayerPolicy(sparsity=0.5, clusters=5, quantization=QAT),
        second=LayerPolicy(sparsity=0.4, clusters=8),
        head=LayerPolicy(sparsity=0.3, quantization=QAT),
    ),
    "depthwise_cnn": policy(
        depthwise=LayerPolicy(sparsity=0.5, quantization=QAT),
        pointwise=LayerPolicy(clusters=4, quantization=QAT),
        head=LayerPolicy(sparsity=0.5),
    ),
}


@cache
def model_of(name):
    return MODELS[name]()


@cache
def data_of(name):
    return noise_for(model_of(name))


@cache
def compiled(name, numerics):
    return CompiledStages(model_of(name), data_of(name), numerics=numerics)


@cache
def pruned_by_tfmot(case):
    name, decided, settings = PRUNE_TASKS[case]
    runner = ReferenceStages(model_of(name), data_of(name))
    return run(runner, task("prune", decided or MIXED[name], **settings), read_weights(model_of(name)))


UNIFORM = LayerPolicy(sparsity=0.6)
#: Model, policy (``None`` for the mixed one) and settings of a task.
PRUNE_TASKS = {
    "a polynomial ramp, cosine rate": (
        "residual_cnn",
        None,
        {"frequency": 1, "end": 0.8, "schedule": "cosine"},
    ),
    "a late ramp with rare updates": (
        "residual_cnn",
        None,
        {"steps": 13, "begin": 0.2, "end": 1.0, "frequency": 5, "schedule": "constant"},
    ),
    "constant sparsity": (
        "residual_cnn",
        policy(stem=UNIFORM, branch=UNIFORM, head=UNIFORM),
        {"pruning_schedule": "constant", "begin": 0.3, "frequency": 2},
    ),
    "an mlp": ("mlp", policy(first=UNIFORM, second=UNIFORM, head=UNIFORM), {"frequency": 2}),
    "a depthwise convolution": ("depthwise_cnn", None, {"frequency": 1}),
}


@pytest.mark.parametrize("numerics", [pytest.param(AS_TFMOT, marks=pytest.mark.slow), FAST], ids=["as_tfmot", "fast"])
@pytest.mark.parametrize("case", PRUNE_TASKS)
def test_the_prune_stage_is_bitwise_that_of_tfmot(case, numerics):
    name, decided, settings = PRUNE_TASKS[case]
    decided = decided or MIXED[name]
    trained = run(compiled(name, numerics), task("prune", decided, **settings), read_weights(model_of(name)))
    require_same(trained, pruned_by_tfmot(case))
    for layer, each in decided.items():
        assert np.mean(trained[layer][0] == 0) == pytest.approx(each.sparsity, abs=0.02)


def test_sample_weights_act_as_they_do_in_tfmots_flow():
    model, decided = model_of("mlp"), MIXED["mlp"]
    data = noise_for(model, sample_weights=True)
    asked = task("prune", decided, steps=3)
    weighted = run(CompiledStages(model, data), asked, read_weights(model))
    require_same(weighted, run(ReferenceStages(model, data), asked, read_weights(model)))
    plain = run(compiled("mlp", FAST), asked, read_weights(model))
    assert not np.array_equal(weighted["head"][0], plain["head"][0])


@cache
def pruned(name):
    return run(compiled(name, AS_TFMOT), task("prune", MIXED[name]), read_weights(model_of(name)))


@pytest.mark.slow
def test_attention_is_pruned_and_clustered_bitwise_as_in_tfmots_flow():
    model, data = attention(), noise_for(attention())
    both = LayerPolicy(sparsity=0.5, clusters=5)
    decided = policy(joined=both, attention=both, head=LayerPolicy(clusters=6))
    ours, theirs, weights = CompiledStages(model, data), ReferenceStages(model, data), read_weights(model)
    for stage in ("prune", "cluster"):
        trained = run(theirs, task(stage, decided), weights)
        require_same(run(ours, task(stage, decided), weights), trained)
        weights = trained
    for kernel in weights["attention"][::2]:
        assert np.mean(kernel == 0) == pytest.approx(0.5)
        assert np.unique(kernel).size <= 5


BY_CHANNEL = {"cluster_scope": "channel"}
#: Model, policy (``None`` for the mixed one) and what else the cluster stage is told. By channel, tfmot has clusters
#: for Conv2D alone, and only where there is a bias.
CLUSTER_TASKS = [
    *((name, None, {}) for name in MODELS),
    ("mlp", None, {"initialisation": "density"}),
    pytest.param("mlp", None, {"initialisation": "kmeans++"}, marks=pytest.mark.slow),
    ("residual_cnn", policy(branch=LayerPolicy(sparsity=0.75, clusters=4)), BY_CHANNEL),
    pytest.param(
        "residual_cnn",
        policy(branch=LayerPolicy(clusters=4)),
        {**BY_CHANNEL, "initialisation": "random"},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("name", "decided", "settings"), CLUSTER_TASKS)
def test_the_cluster_stage_is_bitwise_that_of_tfmot(name, decided, settings):
    asked, start = task("cluster", decided or MIXED[name], **settings), pruned(name)
    require_same(
        run(compiled(name, AS_TFMOT), asked, start), run(ReferenceStages(model_of(name), data_of(name)), asked, start)
    )


@pytest.fixture
def wrapped_by_tfmot(monkeypatch):
    """Return a list that collects the models that tfmot's flow trains in its last stage."""
    seen, fit = [], quantize_aware.fit

    def watched(wrapped, *args, **kwargs):
        seen.append(wrapped)
        fit(wrapped, *args, **kwargs)

    monkeypatch.setattr(quantize_aware, "fit", watched)
    return seen


CONVOLUTIONS = policy(
    stem=LayerPolicy(sparsity=0.5, clusters=5, quantization=QAT),
    branch=LayerPolicy(clusters=4, quantization=QAT),
    head=LayerPolicy(sparsity=0.5, quantization=QAT),
)


@pytest.mark.parametrize(
    ("name", "scope"),
    [*((name, "tensor") for name in MODELS), pytest.param("residual_cnn", "channel", marks=pytest.mark.slow)],
)
def test_quantization_aware_training_is_bitwise_that_of_tfmot(name, scope, wrapped_by_tfmot):
    """But for layers trained quantized and clustered: tfmot's kernel is that of before the last optimizer step.

    It clusters its original weights into the kernel at the start of each step. The variables it trains are compared.
    """
    decided = CONVOLUTIONS if scope == "channel" else MIXED[name]
    start = run(compiled(name, AS_TFMOT), task("cluster", decided, cluster_scope=scope), pruned(name))
    asked = task("quantize", decided, cluster_scope=scope)
    ours = run(compiled(name, AS_TFMOT), asked, start)
    theirs = dict(run(ReferenceStages(model_of(name), data_of(name)), asked, start))
    inside = [layer for layer, each in decided.items() if each.clusters is not None and each.quantization is QAT]
    assert inside
    for layer in inside:
        trained = clustered_after_the_last_step(wrapped_by_tfmot[0], layer, start[layer][0], scope)
        assert not np.array_equal(trained, theirs[layer][0])
        theirs[layer] = [trained, *theirs[layer][1:]]
    require_same(ours, theirs)


def clustered_after_the_last_step(wrapped, layer, start, scope):
    """Return the kernel that tfmot's variables stand for, from those that its optimizer trains."""
    own = {each.name.split("/")[-1].split(":")[0]: each.numpy() for each in wrapped.get_layer(f"quant_{layer}").weights}
    centroids, weights = own["cluster_centroids_tf"], own["ori_weights_vars_tf"]
    axis = 3 if scope == "channel" else None
    if not start.all():
        centroids = np.where(present_centroids(start, axis) == 0, np.float32(0), centroids)
        weights = weights * (start != 0)
    if axis is None:
        return np.asarray(nearest_by_distance(weights, centroids))
    return np.moveaxis(np.asarray(nearest_by_distance(np.moveaxis(weights, axis, 0), centroids)), 0, axis)


@pytest.mark.slow
def test_where_tfmot_has_no_clusters_by_channel_its_flow_keeps_no_more_values_than_asked():
    """The stem has no bias, and the head is no convolution."""
    few = LayerPolicy(clusters=3, quantization=QAT)
    decided, runner = policy(stem=few, head=few), ReferenceStages(model_of("residual_cnn"), data_of("residual_cnn"))
    weights = read_weights(model_of("residual_cnn"))
    for stage in ("cluster", "quantize"):
        weights = run(runner, task(stage, decided, steps=3, cluster_scope="channel"), weights)
        for layer in decided:
            lines = lines_of(weights[layer][0], weights[layer][0].ndim - 1)
            assert max(np.unique(line).size for line in lines) <= 3, (stage, layer)
