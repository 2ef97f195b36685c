from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.experiments.config.experiment import Experiment, parse_experiment
from paretune.experiments.runs.fingerprint import compare, digest_without_loading, require_same, run_fingerprint
from paretune.spaces.candidates.hyperspace import Hyperparameter
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.stage_recipes import PruneRecipe
from paretune.spaces.errors import RunError
from paretune.spaces.policies.building import SpaceSettings, build_space
from paretune.spaces.results.objective import Bound, Constraint
from tests.fakes import ACCURACY, LATENCY, SIZE, AnalyticEvaluator

DESCRIPTION = replace(
    AnalyticEvaluator().describe(), fingerprint={"model": "3f2a1b09" * 8, "data": "77" * 32, "numpy": "2.4.0"}
)


def settings(**choices: Any) -> SpaceSettings:
    return SpaceSettings(choices={"sparsity": (0, 0.5), "clusters": (None,), **choices})


def fingerprint(space: SpaceSettings | None = None, **changes: Any) -> dict[str, str]:
    arguments: dict[str, Any] = {
        "description": DESCRIPTION,
        "objectives": (ACCURACY, SIZE),
        "constraints": (),
        "recipe": Recipe(),
        "hyperspace": (Hyperparameter(name="width", choices=(8, 16), default=16),),
        "seed": 0,
        "threads": 1,
    }
    built = build_space(DESCRIPTION.layers, space or settings())
    return run_fingerprint(**{**arguments, "space": built, **changes})


def test_the_same_run_has_no_differences() -> None:
    assert compare(fingerprint(), fingerprint()) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"description": replace(DESCRIPTION, fingerprint={**DESCRIPTION.fingerprint, "model": "9c1d77e2" * 8})},
            ["model: 3f2a1b09.. -> 9c1d77e2.."],
        ),
        (
            {"description": replace(DESCRIPTION, fingerprint={**DESCRIPTION.fingerprint, "numpy": "2.5.0"})},
            ["numpy: 2.4.0 -> 2.5.0"],
        ),
        (
            {"description": replace(DESCRIPTION, fingerprint={**DESCRIPTION.fingerprint, "class_weights": "balanced"})},
            ["class_weights: (nothing) -> balanced"],
        ),
        ({"seed": 1}, ["seed: 0 -> 1"]),
        ({"threads": 2}, ["threads: 1 -> 2"]),
        (
            {"objectives": (ACCURACY, LATENCY)},
            ["objectives: accuracy (maximize), size_bytes (minimize) -> accuracy (maximize), latency_ratio (minimize)"],
        ),
        (
            {"constraints": (Constraint(objective="accuracy", bound=Bound.DROP, value=0.02),)},
            ["constraints: (none) -> accuracy drop 0.02"],
        ),
        (
            {"hyperspace": (Hyperparameter(name="width", choices=(8, 32), default=8),)},
            ["hyperparameter width: 8, 16 -> 8, 32"],
        ),
        ({"recipe": Recipe(prune=PruneRecipe(epochs=5.0))}, ["recipe.prune.epochs: the usual -> 5.0"]),
        (
            {"space": replace(settings(), layers={"conv1": {"sparsity": (0, 0.9)}})},
            ["space conv1.sparsity: 0.0, 0.5 -> 0.0, 0.9"],
        ),
        (
            {"space": replace(settings(), layers={"conv1": {"clusters": (8,)}})},
            ["space conv1.clusters: none -> 8"],
        ),
    ],
)
def test_a_difference_is_told_in_words(changes: dict[str, Any], told: list[str]) -> None:
    assert compare(fingerprint(), fingerprint(**changes)) == told


def test_layers_that_share_a_decision_now_are_a_difference() -> None:
    grouped = fingerprint(replace(settings(), groups=(("conv0", "conv1"),)))
    assert "group of conv0: (nothing) -> conv0, conv1" in compare(fingerprint(), grouped)


def test_a_run_made_with_something_else_is_refused_in_one_line() -> None:
    require_same(fingerprint(), fingerprint(), Path("runs/digits"))
    with pytest.raises(RunError) as caught:
        require_same(fingerprint(), fingerprint(seed=1), Path("runs/digits"))
    assert str(caught.value) == (
        "runs/digits was searched with something else: seed: 0 -> 1. "
        "Change it back, or use --out (`out` in Python) for a new run."
    )


def test_many_differences_are_cut_and_counted() -> None:
    wide = settings(sparsity=(0, 0.9), quantization=("float32", "int8"))
    with pytest.raises(RunError, match=r"; and \d+ more\. Change it back"):
        require_same(fingerprint(), fingerprint(wide), Path("runs/digits"))


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    (tmp_path / "mine.py").write_text("def build(): ...\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"1")
    return parse_experiment("model: mine:build\ndata: images\n", tmp_path / "mine.yaml")


def test_without_loading_anything_a_change_of_a_named_file_shows(experiment: Experiment) -> None:
    before = digest_without_loading(experiment, {})
    assert digest_without_loading(experiment, {}) == before
    beside = experiment.file.parent
    seen = {before}
    (beside / "mine.py").write_text("def build(): return 1\n")
    seen.add(digest_without_loading(experiment, {}))
    (beside / "images" / "b.png").write_bytes(b"2")
    seen.add(digest_without_loading(experiment, {}))
    seen.add(digest_without_loading(experiment, {"numpy": "3"}))
    seen.add(digest_without_loading(replace(experiment, seed=1), {}))
    seen.add(digest_without_loading(replace(experiment, class_weights="balanced"), {}))
    seen.add(digest_without_loading(replace(experiment, class_weights={0: 1.0, 1: 5.0}), {}))
    assert len(seen) == 7


def test_a_change_of_a_module_that_the_program_could_import_shows(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.syspath_prepend(elsewhere)
    (elsewhere / "nets_of_mine.py").write_text("def build(): return 1\n")
    named = replace(experiment, model="nets_of_mine:build")
    before = digest_without_loading(named, {})
    assert digest_without_loading(named, {}) == before
    (elsewhere / "nets_of_mine.py").write_text("def build(): return 2\n")
    assert digest_without_loading(named, {}) != before


def test_what_does_not_change_numbers_does_not_show(experiment: Experiment) -> None:
    other = replace(experiment, workers=3, trial_minutes=1.0, tracking=None, sampler="random")
    assert digest_without_loading(other, {}) == digest_without_loading(experiment, {})
