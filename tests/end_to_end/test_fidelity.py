"""Twenty random policies of the digits model, each read back from its file by two readers that share no code."""

import io
import random
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paretune.objectives.evaluator import KerasEvaluator, build_evaluator
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, PruneRecipe, StageRecipe
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.measurement import LayerFidelity
from tests.end_to_end.plain_tflite import PlainKernel, plain_kernels

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

POLICIES = 20
SPARSITIES = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95)
#: A pruned layer keeps at least three values, zero among them.
CLUSTERS = (None, None, 64, 32, 16, 8, 4, 3)
SHORT = Recipe(
    prune=PruneRecipe(epochs=0.5, frequency=1), cluster=ClusterRecipe(epochs=0.5), quantize=StageRecipe(epochs=0.5)
)
BATCH_NORM_EPSILON = 1e-3


def random_policies(layers: tuple[LayerSpec, ...]) -> list[Policy]:
    """Return the policies: every layer on its own, all that it supports."""
    draw = random.Random(20)  # noqa: S311  # a fixed seed, not a secret
    space = build_space(layers, SpaceSettings())
    return [
        space.resolve(
            {
                "layers": {
                    spec.name: {
                        "sparsity": draw.choice(SPARSITIES),
                        "clusters": draw.choice(CLUSTERS),
                        "quantization": str(draw.choice(spec.quantizations)),
                    }
                    for spec in layers
                }
            }
        )
        for _ in range(POLICIES)
    ]


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> KerasEvaluator:
    return build_evaluator(
        EvaluatorSettings(
            model="paretune.objectives.zoo:digits_resnet",
            data="paretune.objectives.zoo:digits_data",
            beside=str(tmp_path_factory.mktemp("digits")),
            threads=2,
            cache_folder=str(cache / "paretune"),
        )
    )


@pytest.fixture(scope="module")
def layers(evaluator: KerasEvaluator) -> tuple[LayerSpec, ...]:
    return evaluator.describe().layers


def test_every_number_format_is_among_the_policies(layers: tuple[LayerSpec, ...]) -> None:
    policies = random_policies(layers)
    assert len({policy.digest for policy in policies}) == POLICIES
    asked = chain.from_iterable((knobs.quantization for knobs in policy.values()) for policy in policies)
    assert set(asked) == set(Quantization)


@pytest.mark.parametrize("number", range(POLICIES))
def test_a_file_holds_what_a_random_policy_asks_of_every_layer(
    evaluator: KerasEvaluator, layers: tuple[LayerSpec, ...], number: int
) -> None:
    policy = random_policies(layers)[number]
    candidate = Candidate(architecture=evaluator.describe().architecture, recipe=SHORT, policy=policy)
    measurement = evaluator.evaluate(candidate, Rung.FULL, Limit())
    assert measurement.fidelity.is_clean, measurement.fidelity.faults

    kernels = by_layer(plain_kernels(measurement.artifacts["model.tflite"]), measurement.artifacts["weights.npz"])
    assert set(kernels) == set(policy)
    told = {layer.layer: layer for layer in measurement.fidelity.layers}
    for name, asked in policy.items():
        check_asked(name, asked, kernels[name])
        check_told(told[name], kernels[name])


def check_asked(name: str, asked: LayerPolicy, kernel: PlainKernel) -> None:
    """Hold one layer of the file against its share of the policy."""
    trained = asked.quantization is Quantization.INT8_QAT
    assert kernel.format == ("int8" if trained else asked.quantization), name
    zeros = int((kernel.stored == 0).sum())
    assert zeros >= asked.sparsity * kernel.stored.size - 1, name
    if asked.clusters is not None:
        assert distinct(name, kernel) <= asked.clusters, name


def check_told(told: LayerFidelity, kernel: PlainKernel) -> None:
    """Hold what the product says of the file against the file."""
    assert told.weights == kernel.stored.size
    assert told.zeros == int((kernel.stored == 0).sum())
    assert told.distinct_scope == (
        "block" if kernel.block else "channel" if per_channel(told.layer, kernel) else "tensor"
    )
    assert told.distinct == distinct(told.layer, kernel)


def distinct(name: str, kernel: PlainKernel) -> int:
    """Return the distinct values, zero included: of the whole kernel, or of the channel or block that has most."""
    if kernel.block:
        return max(len(np.unique(block)) for block in kernel.stored.reshape(-1, kernel.block))
    if not per_channel(name, kernel):
        return len(np.unique(kernel.stored))
    return max(len(np.unique(channel)) for channel in kernel.stored)


def per_channel(name: str, kernel: PlainKernel) -> bool:
    """Whether each output channel has a scale of its own: BatchNorm folded in, or one scale per channel."""
    return has_batch_norm(name) or kernel.scales > 1


def has_batch_norm(name: str) -> bool:
    """In this model every convolution is followed by a BatchNorm, and the dense layer by none."""
    return name != "logits"


def by_layer(kernels: list[PlainKernel], weights: bytes) -> dict[str, PlainKernel]:
    """Tell which layer each kernel of a file is, by its numbers: those of the trained weights, norm folded in."""
    with np.load(io.BytesIO(weights)) as arrays:
        expected = folded_kernels(arrays)
    assert len(kernels) == len(expected)
    found: dict[str, PlainKernel] = {}
    for kernel in kernels:
        alike = {
            name: correlation(wanted, kernel.real)
            for name, wanted in expected.items()
            if wanted.shape == kernel.real.shape
        }
        name = max(alike, key=alike.__getitem__)
        # int4 rounds coarsely; another layer's kernel would be nowhere near
        assert alike[name] > 0.9, alike
        assert sum(each > 0.5 for each in alike.values()) == 1, alike
        found[name] = kernel
    return found


def folded_kernels(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return the kernels as a float file holds them: output channels first, times the norm's scale."""
    kernels = {}
    for key in arrays:
        layer, _, index = key.partition("/")
        array = np.asarray(arrays[key], dtype=np.float64)
        if index != "0" or array.ndim not in (2, 4):
            continue
        kernel = np.moveaxis(array, -1, 0)
        if f"{layer}_bn/0" in arrays:
            gamma, _, _, variance = (np.asarray(arrays[f"{layer}_bn/{index}"], np.float64) for index in range(4))
            kernel = kernel * (gamma / np.sqrt(variance + BATCH_NORM_EPSILON)).reshape(-1, 1, 1, 1)
        kernels[layer] = kernel
    return kernels


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the cosine of the angle between two kernels."""
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return float((one * other).sum() / norms) if norms else 0.0
