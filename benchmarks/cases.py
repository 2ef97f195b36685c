"""What the benchmarks of trials train: models, steps and seeded random policies. Needs no TensorFlow."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import STAGES, Recipe, stages_of
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, PruneRecipe, StageRecipe, StructureRecipe
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.evaluator import ModelDescription

_CHOICES = {
    "channels": (1.0,),
    "sparsity": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9),
    "clusters": (None, 32, 16, 8),
    "quantization": (Quantization.FLOAT32, Quantization.INT8, Quantization.INT8_QAT, Quantization.INT4),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model of the benchmarks and how long its trials train.

    Attributes:
        model: ``module:function``.
        data: ``module:function``.
        steps: Optimizer steps of prune (and of structure, where channels go), cluster and quantize.
        batch_size: Samples a step.
    """

    model: str
    data: str
    steps: tuple[int, int, int]
    batch_size: int

    def settings(self, scratch: Path, *, engine: str = "compiled", threads: int = 1) -> EvaluatorSettings:
        """Return what an evaluator must be told; all that share ``scratch`` share the trained model."""
        return EvaluatorSettings(
            model=self.model,
            data=self.data,
            beside=str(Path(__file__).resolve().parent),
            threads=threads,
            cache_folder=str(scratch / "cache"),
            engine=engine,
        )

    def recipe(self, samples: int) -> Recipe:
        """Return the recipe that takes exactly these steps on so many training samples."""
        batches = -(-samples // self.batch_size)
        # half a step less, because a recipe rounds up what a fraction of an epoch leaves open
        prune, cluster, quantize = ((steps - 0.5) / batches for steps in self.steps)
        return Recipe(
            structure=StructureRecipe(epochs=prune, batch_size=self.batch_size),
            prune=PruneRecipe(epochs=prune, batch_size=self.batch_size),
            cluster=ClusterRecipe(epochs=cluster, batch_size=self.batch_size),
            quantize=StageRecipe(epochs=quantize, batch_size=self.batch_size),
        )


CASES = {
    "resnet8": Case(
        model="paretune.objectives.zoo:digits_resnet",
        data="paretune.objectives.zoo:digits_data",
        steps=(84, 42, 42),
        batch_size=64,
    ),
    # as long as the ready-made experiment trains
    "resnet8-demo": Case(
        model="paretune.objectives.zoo:digits_resnet",
        data="paretune.objectives.zoo:digits_data",
        steps=(456, 304, 76),
        batch_size=64,
    ),
    "dscnn": Case(model="models:ds_cnn", data="models:keywords_data", steps=(84, 42, 42), batch_size=64),
    "mobilenetv2": Case(model="models:mobilenet_v2", data="models:textures_data", steps=(24, 12, 12), batch_size=32),
}


def random_candidates(case: Case, description: ModelDescription, *, seed: int = 0) -> Iterator[Candidate]:
    """Yield candidates of random policies that need all three stages, over what the doctor allows; no end."""
    space = build_space(description.layers, SpaceSettings(choices=_CHOICES))
    rng = np.random.default_rng(seed)
    recipe = case.recipe(description.samples["train"])
    while True:
        choice = {each.name: int(rng.integers(len(each.choices))) for each in space.parameters}
        policy = space.policy(choice)
        if stages_of(policy) == STAGES[1:]:  # those that tfmot has
            yield Candidate(architecture=description.architecture, recipe=recipe, policy=policy)


def leaves(stem: Candidate, layers: tuple[LayerSpec, ...], *, seed: int = 0) -> Iterator[Candidate]:
    """Yield candidates that differ from ``stem`` in number formats alone, and need no training of their own; no end."""
    rng = np.random.default_rng(seed)
    while True:
        entries = [(spec.name, _other_format(spec, stem.policy[spec.name], rng)) for spec in layers]
        yield replace(stem, policy=Policy(tuple(entries)))


def with_formats_of(candidate: Candidate, example: Candidate) -> Candidate:
    """Return ``candidate`` with the number formats of another, so that latency is known from there."""
    entries = [
        (name, replace(decided, quantization=example.policy[name].quantization))
        for name, decided in candidate.policy.items()
    ]
    return replace(candidate, policy=Policy(tuple(entries)))


def uniform_policy(layers: tuple[LayerSpec, ...], wanted: LayerPolicy) -> Policy:
    """Return the policy that decides the same for every layer; a layer that does not support a knob stays as it was."""
    return Policy(tuple((spec.name, _supported(spec, wanted)) for spec in layers))


def _supported(spec: LayerSpec, wanted: LayerPolicy) -> LayerPolicy:
    return spec.normal_form(
        replace(
            wanted,
            channels=wanted.channels if spec.channels else 1.0,
            sparsity=wanted.sparsity if spec.prunable else 0.0,
            clusters=wanted.clusters if spec.clusterable else None,
            quantization=wanted.quantization if wanted.quantization in spec.quantizations else Quantization.FLOAT32,
        )
    )


def _other_format(spec: LayerSpec, decided: LayerPolicy, rng: np.random.Generator) -> LayerPolicy:
    if decided.quantization is Quantization.INT8_QAT:
        return decided
    options = [replace(decided, quantization=form) for form in spec.quantizations if form != Quantization.INT8_QAT]
    # a format of few levels makes a count of clusters meaningless, which would be another stem
    same_stem = [option for option in options if spec.normal_form(option) == option]
    return same_stem[int(rng.integers(len(same_stem)))]
