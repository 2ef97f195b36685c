import contextlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.experiments.config.experiment import (
    Experiment,
    Tracking,
    parse_experiment,
    read_experiment,
    with_overrides,
)
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import recipe_hyperparameters, recipe_with
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import Budget

READY_MADE = sorted((Path(__file__).parents[3] / "experiments").glob("*.yaml"))
SMALLEST = "model: zoo:model\ndata: zoo:data\n"


def read(text: str) -> Experiment:
    return parse_experiment(SMALLEST + text, Path("digits.yaml"))


def problem(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return str(caught.value)


def test_model_and_data_are_all_that_an_experiment_must_say() -> None:
    experiment = read("")
    assert (experiment.name, experiment.model, experiment.data) == ("digits", "zoo:model", "zoo:data")
    assert experiment.objectives == ("metric", "size_bytes")
    assert experiment.budget == Budget(trials=24)
    assert experiment.tracking == Tracking()
    assert (experiment.sampler, experiment.seed, experiment.workers, experiment.threads) == ("funnel", 0, None, None)
    assert experiment.rungs == tuple(Rung)
    assert (experiment.stop_when, experiment.flat_trials) == ((), None)


def test_every_key_is_read() -> None:
    experiment = read(
        """
name: other
task: {kind: classification, metric: mine:score, direction: maximize}
space:
  sparsity: {from: 0, to: 0.9, step: 0.3}
  clusters: [none, 16]
  quantization: int8
  layers: {head: {sparsity: [0, 0.5]}}
  groups: [[block1_*], [a, b]]
  pinned: {stem: {quantization: int4, clusters: none}}
objectives: [score, size_bytes, latency_ratio]
constraints: {score: {drop: 0.02}, size_bytes: {max: 60kB, ratio: 0.25x}, latency_ratio: 1.5x}
stop_when: {score: {drop: 0.01}, size_bytes: {max: 30kB}}
recipe: {prune: {epochs: 3, begin: 0.1}, quantize: {schedule: constant}}
search:
  {sampler: {name: NSGAIISampler, arguments: {population_size: 20}}, seed: 7, workers: 2, threads: 3, trial_minutes: 2,
  rungs: [full, proxy], stop_when_flat: {trials: 12, gain: 0.01}}
budget: {minutes: 5.5}
tracking: {uri: "http://host", experiment: mine}
"""
    )
    assert experiment.name == "other"
    assert (experiment.task, experiment.metric, experiment.direction) == ("classification", "mine:score", "maximize")
    space = experiment.space
    assert space.choices == {
        "sparsity": (0.0, 0.3, 0.6, 0.9),
        "clusters": (None, 16),
        "quantization": (Quantization.INT8,),
    }
    assert space.layers == {"head": {"sparsity": (0.0, 0.5)}}
    assert space.groups == (("block1_*",), ("a", "b"))
    assert space.pinned == {"stem": {"quantization": Quantization.INT4, "clusters": None}}
    assert experiment.objectives == ("score", "size_bytes", "latency_ratio")
    assert experiment.constraints == (
        Constraint(objective="score", bound=Bound.DROP, value=0.02),
        Constraint(objective="size_bytes", bound=Bound.MAX, value=60_000.0),
        Constraint(objective="size_bytes", bound=Bound.RATIO, value=0.25),
        Constraint(objective="latency_ratio", bound=Bound.RATIO, value=1.5),
    )
    assert experiment.stop_when == (
        Constraint(objective="score", bound=Bound.DROP, value=0.01),
        Constraint(objective="size_bytes", bound=Bound.MAX, value=30_000.0),
    )
    assert experiment.rungs == (Rung.PROXY, Rung.FULL)
    assert (experiment.flat_trials, experiment.flat_gain) == (12, 0.01)
    assert (experiment.recipe.prune.epochs, experiment.recipe.prune.begin) == (3.0, 0.1)
    assert experiment.recipe.quantize.schedule == "constant"
    assert (experiment.sampler, dict(experiment.sampler_arguments)) == ("NSGAIISampler", {"population_size": 20})
    assert (experiment.seed, experiment.workers, experiment.threads, experiment.trial_minutes) == (7, 2, 3, 2)
    assert experiment.budget == Budget(minutes=5.5)
    assert experiment.tracking == Tracking(uri="http://host", experiment="mine")


def test_base_training_reaches_the_evaluator() -> None:
    settings = read("base: {epochs: 3, batch_size: 16}").settings_for_evaluator(threads=1)
    assert (settings.base_epochs, settings.base_batch_size) == (3, 16)
    settings = read("base: {epochs: 3}").settings_for_evaluator(threads=1)
    assert (settings.base_epochs, settings.base_batch_size) == (3, 64)
    assert read("").base is None


def test_a_list_in_the_recipe_is_searched_from_its_first_value_on() -> None:
    experiment = read("recipe: {prune: {learning_rate: [0.003, 0.001], epochs: [1, 1.0]}, quantize: {epochs: [2, 1]}}")
    assert experiment.recipe.prune.learning_rate == 0.003
    assert experiment.recipe.quantize.epochs == 2.0
    assert experiment.recipe_choices == {
        "prune": {"learning_rate": (0.003, 0.001)},
        "quantize": {"epochs": (2.0, 1.0)},
    }


def test_class_weights_reach_the_evaluator_in_the_order_of_the_labels() -> None:
    for text, expected in (("balanced", "balanced"), ("{3: 5, 0: 0.5}", {0: 0.5, 3: 5.0}), ("null", None)):
        experiment = read(f"task: {{class_weights: {text}}}")
        assert experiment.class_weights == expected
        assert str(experiment.settings_for_evaluator(threads=1).class_weights) == str(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("objectives: [metric, latency_ratio]", True),
        ("constraints: {latency_ratio: 1.5x}", True),
        ("stop_when: {latency_ratio: 1.5x}", True),
    ],
)
def test_latency_is_measured_before_training_only_where_it_matters(text: str, expected: bool) -> None:
    assert read(text).settings_for_evaluator(threads=1).proxy_latency is expected


def test_tracking_can_be_off() -> None:
    assert read("tracking: off").tracking is None


def test_a_section_whose_lines_are_all_commented_out_counts_as_left_out() -> None:
    empty = "space:\n  # sparsity: [0]\nbudget:\nconstraints:\n  # size_bytes: 0.5x\nrecipe:\n  prune:\n"
    assert replace(read(empty), text="") == replace(read(""), text="")


def test_yaml_s_merge_keys_work() -> None:
    experiment = read("recipe:\n  prune: &long {epochs: 9}\n  cluster:\n    <<: *long\n    batch_size: 8\n")
    assert (experiment.recipe.cluster.epochs, experiment.recipe.cluster.batch_size) == (9, 8)


def test_sparsity_patterns_are_searched_and_need_no_quotes() -> None:
    experiment = read("recipe: {prune: {pattern: [unstructured, 2:4, 1x4]}}")
    assert experiment.recipe_choices == {"prune": {"pattern": ("unstructured", "2:4", "1x4")}}
    assert experiment.patterns == ("unstructured", "2:4", "1x4")
    assert read("").patterns == ("unstructured",)


def test_decompositions_are_searched() -> None:
    experiment = read("recipe: {structure: {decomposition: [spatial, channels]}}")
    assert experiment.recipe.structure.decomposition == "spatial"
    assert experiment.decompositions == ("spatial", "channels")
    assert read("").decompositions == ("channels",)
    assert "`decomposition` must be channels or spatial, got 'tucker'" in problem(
        "recipe: {structure: {decomposition: tucker}}"
    )


def test_teacher_and_repairs_are_searched_like_any_other_setting() -> None:
    experiment = read("recipe: {prune: {distillation: [0, 0.5, 1], temperature: 2}, export: {equalise: [false, true]}}")
    assert experiment.recipe.prune.temperature == 2.0
    assert experiment.recipe_choices == {
        "prune": {"distillation": (0.0, 0.5, 1.0)},
        "export": {"equalise": (False, True)},
    }
    searched = recipe_hyperparameters(experiment.recipe, experiment.recipe_choices)
    assert [each.name for each in searched] == ["recipe.prune.distillation", "recipe.export.equalise"]
    changed = recipe_with(experiment.recipe, {"recipe.prune.distillation": 0.5, "recipe.export.equalise": True})
    assert (changed.prune.distillation, changed.prune.temperature, changed.export.equalise) == (0.5, 2.0, True)


def test_whole_numbers_and_fractions_give_one_recipe() -> None:
    assert (
        read("recipe: {prune: {epochs: 4}}").recipe.to_document()
        == read("recipe: {prune: {epochs: 4.0}}").recipe.to_document()
    )
    assert repr(read("recipe: {prune: {epochs: 4}}").recipe.prune.epochs) == "4.0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spce: {}\n", "Unknown key 'spce'; known are name, model, data, base, task, space, target, device, "
         "objectives, constraints, "
         "stop_when, recipe, search, budget, tracking, metadata. Did you mean 'space'? (digits.yaml line 3)"),
        ("budget:\n  minutes: 5\n  trails: 7\n", "Unknown key 'trails' in `budget`; known are trials, minutes, "
         "training_steps. Did you mean 'trials'? (digits.yaml line 5)"),
        (
            "space:\n  sparsity:\n  - 0\n  - 1.2\n",
            "`sparsity` must be a number in [0, 1), got 1.2 (digits.yaml line 6).",
        ),
        ("space: {sparsity: .nan}", "`sparsity` must be a number in [0, 1), got nan (digits.yaml line 3)."),
        ("space:\n  layers:\n    head: {clusters: [1]}", "`clusters` must be none or a whole number of at least 2, "
         "got 1 (layer 'head', digits.yaml line 5)."),
        ("space: {pinned: {stem: {quantization: int9}}}", "Unknown quantization 'int9'; known are float32, float16, "
         "dynamic_int8, int8, int8_qat, int16x8, int4, int4_block. Did you mean 'int8'? (layer 'stem', "
         "digits.yaml line 3)"),
        ("recipe: {prune: {epochs: []}}", "`epochs` of stage 'prune' must be a value, or a list of numbers or words to "
         "search; got [] (digits.yaml line 3)."),
        ("recipe:\n  prune: {epochs: [2, 0]}", "`epochs` must be a number above 0, got 0.0. (stage 'prune') "
         "(digits.yaml line 4)"),
        ("base: {epochs: 0}", "`base.epochs` must be at least 1, got 0 (digits.yaml line 3)."),
        ("space: {sparsity: []}", "`sparsity` needs at least one choice, got an empty list (digits.yaml line 3)."),
        ("space: {sparsity: {from: 0, to: 0.9}}", "`sparsity` must be a list, or {from: 0, to: 0.9, step: 0.1}; got "
         "{'from': 0, 'to': 0.9} (digits.yaml line 3)."),
        ("space: {sparsity: {from: 0, to: 1, step: 0.1}}", "0 <= `from` <= `to` < 1 and `step` >= 0.001 must hold, "
         "got 0, 1 and 0.1 (digits.yaml line 3)."),
        ("space: {groups: [a, b]}", "`space.groups` must be a list, got 'a' (digits.yaml line 3).\n"
         "`space.groups` must be a list, got 'b' (digits.yaml line 3)."),
        ("task: {kind: clustering}", "`task.kind` must be 'classification' or 'regression', got 'clustering' "
         "(digits.yaml line 3)."),
        ("task: {class_weights: balance}", "`class_weights` must be balanced, or factors by label as {0: 1, 1: 5}, "
         "got 'balance' (digits.yaml line 3)."),
        ("task: {class_weights: {}}", "`class_weights` must be balanced, or factors by label as {0: 1, 1: 5}, got "
         "an empty mapping (digits.yaml line 3)."),
        ("task: {class_weights: {cat: 1}}", "`class_weights` must name labels 0, 1, 2, ..., got 'cat' "
         "(digits.yaml line 3)."),
        ("task: {class_weights: {-1: 1}}", "`class_weights` must name labels 0, 1, 2, ..., got '-1' "
         "(digits.yaml line 3)."),
        ("task:\n  class_weights:\n    0: 1\n    1: -2\n", "`class_weights` of label 1 must be at least 0, got -2 "
         "(digits.yaml line 6)."),
        ("task: {class_weights: {0: .nan}}", "`class_weights` of label 0 must be at least 0, got nan "
         "(digits.yaml line 3)."),
        ("objectives: [size_bytes, size_bytes]", "Objective 'size_bytes' is named twice (digits.yaml line 3)."),
        ("objectives: []", "`objectives` must not be empty (digits.yaml line 3)."),
        ("constraints:\n  size_bytes: small", "A constraint is '0.25x' or a mapping of max, min, drop, such as "
         "{max: 60kB}; got 'small' (constraint on 'size_bytes') (digits.yaml line 4)."),
        ("recipe: {prune: {epoch: 3}}", "Unknown setting 'epoch' of stage 'prune'; known are epochs, learning_rate, "
         "batch_size, schedule, optimizer, optimizer_arguments, distillation, temperature, pruning_schedule, begin, "
         "end, frequency, pattern. "
         "Did you mean 'epochs'? (digits.yaml line 3)"),
        ("recipe: {prune: {begin: early}}", "`begin` of stage 'prune' must be a number, got 'early' "
         "(digits.yaml line 3)."),
        ("recipe: {prune: 4}", "Stage 'prune' needs a mapping of settings, got 4 (digits.yaml line 3)."),
        ("search: {workers: 0}", "`search.workers` must be at least 1, got 0 (digits.yaml line 3)."),
        ("search: {seed: 1.5}", "`search.seed` must be a whole number, got 1.5 (digits.yaml line 3)."),
        ("search: {rungs: [proxy, short]}", "`rungs` must include full: only its trials make the front; got "
         "['proxy', 'short'] (digits.yaml line 3)."),
        ("search: {stop_when_flat: {trials: 0}}", "`search.stop_when_flat.trials` must be at least 1, got 0 "
         "(digits.yaml line 3)."),
        ("stop_when:\n  size_bytes: small", "A constraint is '0.25x' or a mapping of max, min, drop, such as "
         "{max: 60kB}; got 'small' (constraint on 'size_bytes') (digits.yaml line 4)."),
        ("budget: {trials: yes}", "`budget.trials` must be a whole number, got 'yes' (digits.yaml line 3)."),
        ("budget: {minutes: .inf}", "`budget.minutes` must be a finite number, got inf (digits.yaml line 3)."),
        ("budget: [3]", "`budget` must be a mapping of trials, minutes, training_steps, got a list "
         "(digits.yaml line 3)."),
        ("tracking: on", "`tracking` must be a mapping of uri, experiment, got 'on' (digits.yaml line 3)."),
        ("name: ../other", "`name` must be a folder's name of letters, digits, '_', '-' and '.', got '../other' "
         "(digits.yaml line 3)."),
        ("data: again", 'digits.yaml is not valid YAML: found duplicate key "data" (digits.yaml line 3).'),
        ("space: [1", "digits.yaml is not valid YAML: expected ',' or ']', but got '<stream end>' "
         "(digits.yaml line 3)."),
        ("name: 2020-01-01", "`name` must be a number, a text, a list or a mapping, got a date (digits.yaml line 3)."),
        ("space: " + "{a: " * 40 + "}" * 40, "digits.yaml is nested deeper than 30 levels at space.a.a."),
        ("space: " + "[" * 600, "digits.yaml is nested too deeply."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, said: str) -> None:
    assert problem(text) == said


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match="`data` must be given"):
        parse_experiment("model: a:b\n", Path("digits.yaml"))


@pytest.mark.parametrize("text", ["", "- a\n", "42\n", "just words\n"])
def test_a_file_that_holds_no_mapping_is_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must hold a mapping") as caught:
        parse_experiment(text, Path("digits.yaml"))
    assert "\n" not in str(caught.value)


def test_many_problems_are_told_together_and_the_rest_counted() -> None:
    said = problem("".join(f"wrong{index}: 1\n" for index in range(7))).splitlines()
    assert len(said) == 6
    assert said[-1] == "And 2 more."


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_no_text_gets_past_as_anything_but_an_experiment_or_one_kind_of_error(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        parse_experiment(text, Path("digits.yaml"))


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no file .*paretune init"):
        read_experiment(tmp_path / "digits.yaml")


def test_a_model_file_that_is_not_there_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "digits.yaml"
    file.write_text("data: zoo:data\nmodel: model.keras\n")
    with pytest.raises(ConfigurationError, match=r"`model` must be .* got 'model.keras' \(digits.yaml line 2\)\.$"):
        read_experiment(file)


def test_references_are_looked_for_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    file = tmp_path / "digits.yaml"
    file.write_text("data: zoo:data\nmodel: model.keras\n")
    settings = read_experiment(file).settings_for_evaluator(threads=2, trust_model=True, cache_folder=tmp_path)
    assert settings.beside == str(tmp_path)
    assert (settings.model, settings.threads, settings.trust_model) == ("model.keras", 2, True)
    assert settings.cache_folder == str(tmp_path)


def test_the_command_line_takes_precedence_over_the_file() -> None:
    experiment = with_overrides(read("budget: {trials: 5, training_steps: 9}"), trials=7, minutes=2, workers=3, seed=4)
    assert experiment.budget == Budget(trials=7, minutes=2, training_steps=9)
    assert (experiment.workers, experiment.seed) == (3, 4)
    assert with_overrides(experiment) == experiment


@pytest.mark.parametrize("override", [{"trials": 0}, {"minutes": float("nan")}, {"workers": 0}, {"seed": -1}])
def test_an_impossible_override_is_refused(override: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        with_overrides(read(""), **override)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", READY_MADE, ids=lambda path: path.stem)
def test_the_ready_made_experiments_are_valid(path: Path) -> None:
    assert read_experiment(path).name == path.stem


def test_every_ready_made_experiment_is_listed() -> None:
    assert [path.stem for path in READY_MADE] == [
        "breast_cancer",
        "diabetes",
        "digit_rows",
        "digits",
        "digits_cnn",
        "digits_low_bits",
        "digits_low_rank",
        "digits_mlp",
    ]


def test_importing_the_module_is_light() -> None:
    heavy = "{'pydantic', 'ruamel.yaml', 'numpy'}"
    script = f"import sys, paretune.experiments.config.experiment; print({heavy} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
