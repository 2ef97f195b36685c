"""Stages that were trained before are found again, and only those."""

import os
from dataclasses import replace

import numpy as np
import pytest

from paretune.objectives.pipeline.stage_tree import StageTree
from paretune.objectives.pipeline.stages import StageTask
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, PruneRecipe, StageRecipe
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization

pytestmark = pytest.mark.tensorflow

QAT = Quantization.INT8_QAT
POLICY = Policy(
    (
        ("conv", LayerPolicy(sparsity=0.5, clusters=8, quantization=QAT)),
        ("head", LayerPolicy(sparsity=0.5, quantization=Quantization.INT4)),
    )
)
WEIGHTS = {"conv": [np.arange(4, dtype=np.float32), np.float32(2)], "head": [np.zeros((2, 3), np.float32)]}


def tasks(policy=POLICY, seed=0, **changes):
    recipes = {"prune": PruneRecipe(), "cluster": ClusterRecipe(), "quantize": StageRecipe()}
    return [
        StageTask(stage=stage, policy=policy, recipe=replace(recipe, **changes.get(stage, {})), steps=10, seed=seed)
        for stage, recipe in recipes.items()
    ]


def changed(layer, **knobs):
    return Policy(tuple((name, replace(own, **knobs) if name == layer else own) for name, own in POLICY.items()))


@pytest.fixture
def tree(tmp_path):
    return StageTree({"model": "m", "data": "d"}, tmp_path / "stages")


@pytest.fixture
def grown(tree):
    branch = tree.branch(tasks())
    for number in range(3):
        branch.keep(number, {**WEIGHTS, "head": [np.full((2, 3), number, np.float32)]})
    return tree


def known(tree, *arguments, **changes):
    return tree.branch(tasks(*arguments, **changes)).deepest_known()[0]


def test_what_was_kept_reads_back_bit_for_bit(grown):
    number, weights = grown.branch(tasks()).deepest_known()
    assert number == 3
    assert list(weights) == ["conv", "head"]
    np.testing.assert_array_equal(weights["conv"][0], WEIGHTS["conv"][0])
    assert weights["conv"][1] == 2
    assert (weights["head"][0] == 2).all()


def test_a_number_format_that_is_not_trained_for_shares_every_stage(grown):
    assert known(grown, changed("head", quantization=Quantization.FLOAT16)) == 3


def test_a_policy_shares_the_stages_before_the_first_that_it_decides_otherwise(grown):
    assert known(grown, changed("head", quantization=QAT)) == 2
    assert known(grown, changed("conv", clusters=16)) == 1
    assert known(grown, changed("head", sparsity=0.6)) == 0


def test_recipe_seed_steps_model_and_data_are_all_part_of_the_address(grown, tree):
    assert known(grown, quantize={"learning_rate": 0.5}) == 2
    assert known(grown, cluster={"epochs": 7.0}) == 1
    assert known(grown, seed=1) == 0
    assert known(grown, prune={"frequency": 3}) == 0
    assert known(replace(tree, root={"model": "m", "data": "other"})) == 0
    shorter = [replace(task, steps=5) for task in tasks()]
    assert grown.branch(shorter).deepest_known() == (0, None)


DAMAGES = (lambda entry: entry[:-1], lambda entry: entry[:100] + b"x" + entry[101:], lambda entry: b"")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stage_is_a_miss(grown, damage):
    for path in grown.folder.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert known(grown) == 0


def test_a_missing_stage_is_a_miss_and_the_one_before_it_is_found(grown):
    branch = grown.branch(tasks())
    (grown.folder / f"{branch.keys[2][:40]}.stage").unlink()
    assert branch.deepest_known()[0] == 2


def test_the_least_recently_used_stages_go_when_there_is_no_room(grown):
    branch = grown.branch(tasks())
    paths = [grown.folder / f"{key[:40]}.stage" for key in branch.keys]
    for age, path in zip((100, 300, 200), paths, strict=True):
        os.utime(path, (1e9 - age, 1e9 - age))
    two = sum(path.stat().st_size for path in paths[:2]) + 10
    replace(grown, most_bytes=two).sweep()
    assert [path.exists() for path in paths] == [True, False, True]


def test_where_nothing_can_be_written_nothing_is_kept_and_nothing_fails(tmp_path):
    (tmp_path / "stages").write_text("a file where the folder should be")
    tree = StageTree({}, tmp_path / "stages")
    branch = tree.branch(tasks())
    branch.keep(0, WEIGHTS)
    assert branch.deepest_known() == (0, None)
    assert StageTree({}).branch(tasks()).deepest_known() == (0, None)
