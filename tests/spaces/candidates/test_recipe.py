from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import Recipe, read_recipe, untrained_digest
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import (
    ClusterRecipe,
    ExportRecipe,
    PruneRecipe,
    StageRecipe,
    StructureRecipe,
)
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.patterns import PATTERNS
from paretune.spaces.policies.policy import LayerPolicy, Policy

shared = {
    "epochs": st.floats(0.01, 100),
    "learning_rate": st.floats(1e-6, 1),
    "batch_size": st.integers(1, 1024),
    "schedule": st.sampled_from(["constant", "cosine"]),
    "distillation": st.floats(0, 1),
    "temperature": st.floats(0.1, 20),
}
stages = st.builds(StageRecipe, **shared)
prune_stages = st.builds(
    PruneRecipe,
    **shared,
    pruning_schedule=st.sampled_from(["polynomial", "constant"]),
    begin=st.floats(0, 0.5),
    end=st.floats(0.51, 1),
    frequency=st.integers(1, 100),
    pattern=st.sampled_from(PATTERNS),
)
cluster_stages = st.builds(
    ClusterRecipe,
    **shared,
    initialisation=st.sampled_from(["linear", "kmeans++", "density", "random"]),
    scope=st.sampled_from(["tensor", "channel"]),
)
repairs = st.builds(ExportRecipe, equalise=st.booleans(), correct_bias=st.booleans())
recipes = st.builds(Recipe, prune=prune_stages, cluster=cluster_stages, quantize=stages, export=repairs)


@given(recipes)
def test_a_recipe_reads_back_equal(recipe: Recipe) -> None:
    assert read_recipe(recipe.to_document()) == recipe


def test_an_optimizer_is_named_in_any_case_and_a_misspelt_one_is_told_the_nearest() -> None:
    assert read_recipe({"prune": {"optimizer": "AdamW"}}).prune.optimizer == "AdamW"
    with pytest.raises(ConfigurationError, match=r"must be adadelta, .*, got 'adamm'\. Did you mean 'adam'\?"):
        StageRecipe(optimizer="adamm")
    with pytest.raises(ConfigurationError, match="without `learning_rate`"):
        StageRecipe(optimizer_arguments={"learning_rate": 1.0})


def test_what_is_not_named_keeps_its_default() -> None:
    recipe = read_recipe({"prune": {"epochs": 1}})
    assert recipe == Recipe(prune=PruneRecipe(epochs=1))
    assert read_recipe({}) == Recipe()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            {"pruning": {}},
            "Unknown stage 'pruning'; known are structure, prune, cluster, quantize, export. Did you mean 'prune'?",
        ),
        ({"cluster": {"epoch": 1}}, "Unknown setting 'epoch' of stage 'cluster'; known are epochs, learning_rate"),
        ({"cluster": {"frequency": 1}}, "Unknown setting 'frequency' of stage 'cluster'"),
        (
            {"cluster": {"initialisation": "kmeans"}},
            "must be linear, kmeans++, density or random, got 'kmeans'. Did you",
        ),
        ({"cluster": {"scope": "layer"}}, "`scope` must be tensor or channel, got 'layer'."),
        ({"cluster": {"scope": True}}, "`scope` must be tensor or channel, got True."),
        ({"quantize": {"epochs": 0}}, "`epochs` must be a number above 0, got 0. (stage 'quantize')"),
        ({"prune": {"learning_rate": float("nan")}}, "`learning_rate` must be a number above 0, got nan."),
        ({"prune": {"epochs": float("inf")}}, "`epochs` must be a number above 0, got inf."),
        ({"prune": {"epochs": "two"}}, "`epochs` must be a number above 0, got 'two'."),
        ({"prune": {"epochs": True}}, "`epochs` must be a number above 0, got True."),
        ({"prune": {"batch_size": 0.5}}, "`batch_size` must be a whole number of at least 1, got 0.5."),
        ({"prune": {"distillation": 1.5}}, "`distillation` must be in [0, 1], got 1.5. (stage 'prune')"),
        ({"prune": {"distillation": float("nan")}}, "`distillation` must be in [0, 1], got nan."),
        ({"prune": {"temperature": 0}}, "`temperature` must be a number above 0, got 0."),
        ({"export": {"equalise": 1}}, "`equalise` must be true or false, got 1. (stage 'export')"),
        ({"export": {"equalize": True}}, "Unknown setting 'equalize' of stage 'export'; known are equalise, correct_b"),
        ({"prune": {"schedule": "linear"}}, "`schedule` must be constant or cosine, got 'linear'."),
        ({"prune": {"begin": 0.8}}, "0 <= `begin` < `end` <= 1 must hold, got 0.8 and 0.75."),
        ({"prune": {"frequency": 0}}, "`frequency` must be a whole number of at least 1, got 0."),
        ({"prune": {"pattern": "4:2"}}, "`pattern` must be unstructured, 1x2, 1x4, 4x1, 2:4, got '4:2'."),
        ({"prune": {"pruning_schedule": "cubic"}}, "`pruning_schedule` must be polynomial or constant, got 'cubic'."),
    ],
)
def test_a_recipe_that_makes_no_sense_names_stage_and_setting(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_recipe(document)
    assert said in str(caught.value)


def test_a_candidates_digest_follows_from_everything_it_is_made_of() -> None:
    policy = Policy((("conv", LayerPolicy(sparsity=0.5)),))
    candidate = Candidate(architecture="a", recipe=Recipe(), policy=policy, seed=1)
    others = [
        replace(candidate, architecture="b"),
        replace(candidate, recipe=Recipe(cluster=ClusterRecipe(epochs=3))),
        replace(candidate, recipe=Recipe(cluster=ClusterRecipe(distillation=0.5))),
        replace(candidate, recipe=Recipe(export=ExportRecipe(correct_bias=True))),
        replace(candidate, policy=Policy((("conv", LayerPolicy(sparsity=0.6)),))),
        replace(candidate, seed=2),
    ]
    assert replace(candidate).digest == candidate.digest
    assert len({candidate.digest, *(other.digest for other in others)}) == 7


def test_a_teacher_makes_another_stem_and_a_repair_of_the_file_does_not() -> None:
    candidate = Candidate(
        architecture="a", recipe=Recipe(), policy=Policy((("conv", LayerPolicy(sparsity=0.5)),)), seed=1
    )
    taught = replace(candidate, recipe=Recipe(prune=PruneRecipe(distillation=0.5)))
    repaired = replace(candidate, recipe=Recipe(export=ExportRecipe(equalise=True)))
    assert candidate.stem_digest == repaired.stem_digest != taught.stem_digest
    untrained = [untrained_digest("a", each.recipe, each.policy) for each in (candidate, taught, repaired)]
    assert untrained[0] == untrained[1] != untrained[2]


def test_settings_of_a_stage_decide_about_untrained_files_where_the_policy_needs_the_stage() -> None:
    others = (
        ("channels", 0.5, Recipe(structure=StructureRecipe(criterion="entropy"))),
        ("rank", 4, Recipe(structure=StructureRecipe(decomposition="spatial"))),
        ("sparsity", 0.5, Recipe(prune=PruneRecipe(pattern="2:4"))),
        ("clusters", 8, Recipe(cluster=ClusterRecipe(scope="channel"))),
    )
    for knob, value, _ in others:
        policy = Policy((("conv", LayerPolicy(**{knob: value})),))
        plain = untrained_digest("a", Recipe(), policy)
        assert [untrained_digest("a", other, policy) != plain for _, _, other in others] == [
            knob == each for each, _, _ in others
        ]


def test_policies_that_a_setting_of_the_structure_stage_is_not_about_are_trained_once_whatever_it_says() -> None:
    criterion, decomposition = StructureRecipe(criterion="entropy"), StructureRecipe(decomposition="spatial")
    for decided, said, unsaid in (
        (LayerPolicy(channels=0.5), criterion, decomposition),
        (LayerPolicy(rank=4), decomposition, criterion),
    ):
        policy = Policy((("conv", decided),))
        plain, heard, unheard = (
            Candidate(architecture="a", recipe=Recipe(structure=each), policy=policy).stem_digest
            for each in (StructureRecipe(), said, unsaid)
        )
        assert plain == unheard != heard


def test_how_ranks_split_kernels_is_one_of_two_ways() -> None:
    with pytest.raises(ConfigurationError, match=r"`decomposition` must be channels or spatial, got 'tucker'\."):
        StructureRecipe(decomposition="tucker")


def test_a_proxy_trains_nothing_and_a_full_trial_everything() -> None:
    assert [rung.epochs_share for rung in Rung] == [0.0, 0.25, 1.0]


def test_small_data_gets_more_passes_unless_the_recipe_says_how_many() -> None:
    stages = (PruneRecipe(), ClusterRecipe())
    assert [stage.steps(64_000) for stage in stages] == [4000, 2000]
    assert [stage.steps(300) for stage in stages] == [200, 100]
    assert PruneRecipe().steps(300, Rung.SHORT) == 50
    assert PruneRecipe(epochs=4).steps(300) == 20
