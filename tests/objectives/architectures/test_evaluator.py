"""Candidates of all models of a hyperspace, each measured beside the model of the defaults."""

from dataclasses import replace
from pathlib import Path

import pytest

from paretune.objectives import keras_evaluator
from paretune.objectives.architectures import evaluator as architectures_module
from paretune.objectives.evaluator import ArchitectureEvaluator, build_evaluator
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.hyperspace import OFF
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import DataError, Infeasible, LimitReached, ModelRefused
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.evaluator import Split
from tests.contracts.evaluator import SHORT_RECIPE, EvaluatorContract

pytestmark = [
    pytest.mark.tensorflow,
    # Variables of Keras 3 predate the copy keyword of NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

EXPERIMENT = """
from pathlib import Path

import numpy as np
import tf_keras as keras


def build(hp):
    with Path(__file__).with_name("calls.txt").open("a") as calls:
        calls.write("built\\n")
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(hp.Choice("width", [4, 8, 99]), 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    for layer in range(hp.Int("hidden", 0, 1)):
        x = keras.layers.Conv2D(hp.Choice("hidden_width", [4, 8]), 3)(x)
    if hp.get("width") == 99:
        raise ValueError("too wide")
    rate = hp.Choice("rate", [1e-3, 2e-3, 1e30])
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    model.compile(keras.optimizers.SGD(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def raw(hp):
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])


def data():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 200)
    images = generator.normal(0, 0.3, (200, 8, 8, 1)).astype(np.float32)
    images[np.arange(200), labels * 2] += 1
    return images, labels
"""


def settings_in(folder: Path, **changes) -> EvaluatorSettings:
    (folder / "stripes.py").write_text(EXPERIMENT)
    settings = EvaluatorSettings(
        model="stripes:build",
        data="stripes:data",
        beside=str(folder),
        base_epochs=2,
        base_batch_size=32,
        cache_folder=str(folder / "cache"),
    )
    return replace(settings, **changes)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return settings_in(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def architectures(settings):
    return build_evaluator(settings)


class TestArchitectureEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, architectures):
        return architectures


DEFAULTS = {"width": 4, "hidden": 0, "rate": 1e-3, "hidden_width": OFF}
WIDE = DEFAULTS | {"width": 8}
DEEP = DEFAULTS | {"hidden": 1, "hidden_width": 4}
PRUNED = LayerPolicy(sparsity=0.5, quantization=Quantization.INT8)
SPARSE = LayerPolicy(sparsity=0.5)
UNTOUCHED = LayerPolicy()


def candidate_of(evaluator, values, wish) -> Candidate:
    description = evaluator.describe(values)
    policy, _ = build_space(description.layers, SpaceSettings()).nearest(wish)
    return Candidate(architecture=description.architecture, recipe=SHORT_RECIPE, policy=policy, hyperparameters=values)


def test_the_defaults_are_described_where_nothing_is_asked_for(architectures):
    description = architectures.describe()
    assert isinstance(architectures, ArchitectureEvaluator)
    assert dict(description.hyperparameters) == DEFAULTS
    assert [each.name for each in description.hyperspace] == ["width", "hidden", "rate", "hidden_width"]
    assert description == architectures.describe(DEFAULTS)


def test_every_architecture_is_described_with_its_own_layers(architectures):
    wide, deep = architectures.describe(WIDE), architectures.describe(DEEP)
    assert dict(wide.hyperparameters) == WIDE
    assert wide.hyperspace == architectures.describe().hyperspace
    assert wide.layers[0].weight_shape == (3, 3, 1, 8)
    assert [layer.name for layer in deep.layers] == ["conv", "conv2d", "dense"]
    digests = {architectures.describe(values).architecture for values in (None, WIDE, DEEP)}
    assert len(digests) == 3
    assert wide.fingerprint["model"] != deep.fingerprint["model"]
    assert wide.fingerprint["hypermodel"] == deep.fingerprint["hypermodel"]


@pytest.mark.parametrize(
    "values",
    [
        DEFAULTS | {"width": 5},
        DEFAULTS | {"depth": 1},
        {"width": 4},
        DEEP | {"hidden_width": OFF},
        DEEP | {"hidden_width": 5},
    ],
)
def test_values_that_are_not_of_the_hyperspace_are_a_mistake_of_the_caller(architectures, values):
    with pytest.raises(ValueError, match=r"hyperparameters must be|must be one of"):
        architectures.describe(values)


def test_values_come_back_in_normal_form(architectures):
    told = architectures.describe({"width": 8.0, "hidden": 0, "rate": 1e-3, "hidden_width": 8}).hyperparameters
    assert dict(told) == WIDE
    assert type(told["width"]) is int


def test_a_candidate_goes_to_the_architecture_of_its_hyperparameters(architectures):
    small, wide = (
        architectures.evaluate(candidate_of(architectures, values, PRUNED), Rung.FULL, Limit())
        for values in (DEFAULTS, WIDE)
    )
    assert wide.values["parameters"] > small.values["parameters"]
    assert wide.values["size_bytes"] > small.values["size_bytes"]
    assert wide.training_steps == small.training_steps > 0


def test_settings_of_the_recipe_may_stand_beside_the_hyperparameters(architectures):
    candidate = candidate_of(architectures, WIDE, PRUNED)
    beside = replace(candidate, hyperparameters={**WIDE, "recipe.prune.epochs": 1.0})
    measured = [architectures.evaluate(each, Rung.PROXY, Limit()) for each in (candidate, beside)]
    assert measured[0].values == measured[1].values


def test_architectures_share_a_folder_of_stages_but_no_stage(tmp_path):
    evaluator = build_evaluator(settings_in(tmp_path, stage_folder=str(tmp_path / "stages")))
    candidates = [candidate_of(evaluator, values, SPARSE) for values in (DEFAULTS, DEFAULTS | {"rate": 2e-3})]
    assert candidates[0].policy == candidates[1].policy
    first = [evaluator.evaluate(each, Rung.FULL, Limit()) for each in candidates]
    again = [evaluator.evaluate(each, Rung.FULL, Limit()) for each in candidates]
    assert [each.details["reused_stages"] for each in first] == [[], []]
    assert [each.details["reused_stages"] for each in again] == [["prune"], ["prune"]]
    files = [each.artifacts["model.tflite"] for each in (*first, *again)]
    assert files[0] == files[2] != files[1] == files[3]


def test_an_untouched_candidate_is_its_base_model_at_the_cost_of_its_training(architectures):
    measured = architectures.evaluate(candidate_of(architectures, WIDE, UNTOUCHED), Rung.FULL, Limit())
    assert measured.training_steps == 2 * 5  # 140 rows in batches of 32
    assert measured.seconds["base"] > 0
    assert measured.fidelity.is_clean
    small = architectures.evaluate(candidate_of(architectures, DEFAULTS, UNTOUCHED), Rung.FULL, Limit())
    baseline = architectures.baseline()
    assert small.artifacts["model.tflite"] == baseline.artifacts["model.tflite"] != measured.artifacts["model.tflite"]
    assert small.training_steps == 2 * 5
    assert (baseline.training_steps, "base" in baseline.seconds) == (0, False)


def test_an_untouched_proxy_and_a_compressed_candidate_are_not_charged_for_the_base_model(architectures):
    proxy = architectures.evaluate(candidate_of(architectures, WIDE, UNTOUCHED), Rung.PROXY, Limit())
    assert (proxy.training_steps, "base" in proxy.seconds) == (0, False)
    pruned = architectures.evaluate(candidate_of(architectures, DEEP, PRUNED), Rung.FULL, Limit())
    assert "base" not in pruned.seconds


def test_every_latency_is_a_ratio_to_the_file_of_the_defaults(architectures, monkeypatch):
    base = architectures.baseline().artifacts["model.tflite"]
    seen = []

    def measure(exported, base, **arguments):
        seen.append((exported, base))
        return original(exported, base, **arguments)

    original = keras_evaluator.measure_latency
    monkeypatch.setattr(keras_evaluator, "measure_latency", measure)
    architectures._others.clear()  # each measures an assignment of formats once
    measured = [
        architectures.evaluate(candidate_of(architectures, WIDE, wish), Rung.FULL, Limit())
        for wish in (UNTOUCHED, PRUNED)
    ]
    assert seen == [(each.artifacts["model.tflite"], base) for each in measured]
    assert base != measured[0].artifacts["model.tflite"]


def test_a_file_is_measured_again_as_the_architecture_it_is_of(architectures):
    for values in (WIDE, DEEP):
        measured = architectures.evaluate(candidate_of(architectures, values, PRUNED), Rung.FULL, Limit())
        again = architectures.remeasure(measured.artifacts["model.tflite"], Split.VALIDATION, values)
        assert dict(again) == {name: measured.values[name] for name in again}


def test_a_model_that_comes_out_differently_is_infeasible(architectures):
    candidate = replace(candidate_of(architectures, WIDE, PRUNED), architecture="other")
    with pytest.raises(Infeasible, match=r"width=8.* came out with other weights") as caught:
        architectures.evaluate(candidate, Rung.FULL, Limit())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (DEFAULTS | {"width": 99}, r"^no model with width=99, .*: .*the function raised ValueError: too wide$"),
        (DEFAULTS | {"rate": 1e30}, r"^no model with .*rate=1e\+30.*: training gave weights that are not finite"),
    ],
)
def test_hyperparameters_that_give_no_model_are_infeasible(architectures, values, told):
    with pytest.raises(Infeasible, match=told) as caught:
        architectures.describe(values)
    assert "\n" not in str(caught.value)
    assert architectures.describe(WIDE).layers  # and it goes on


def test_time_spent_on_building_the_model_counts(architectures):
    candidate = candidate_of(architectures, WIDE, PRUNED)
    architectures._others.clear()
    with pytest.raises(LimitReached, match="building the model took longer"):
        architectures.evaluate(candidate, Rung.FULL, Limit(seconds=1e-6))


def test_only_the_evaluators_that_were_used_last_are_kept(tmp_path, monkeypatch):
    made = []

    class Light:
        baseline_file = b""

        def __init__(self, settings, prepared, data, *, latency_base=None):
            made.append(prepared)

    monkeypatch.setattr(architectures_module, "KerasEvaluator", Light)
    evaluator = build_evaluator(settings_in(tmp_path))
    monkeypatch.setattr(architectures_module, "_MOST_OTHERS", 2)
    one, two, three = (DEFAULTS | values for values in ({"width": 8}, {"rate": 2e-3}, {"width": 8, "rate": 2e-3}))
    kept = {}
    for number, values in enumerate((DEFAULTS, one, two, one, three, one, DEFAULTS, two)):
        kept[number] = evaluator._architecture(values)
    assert len(made) == 5  # `two` had to go for `three`
    assert kept[1] is kept[3] is kept[5]
    assert kept[0] is kept[6]
    assert kept[2] is not kept[7]


def test_a_default_that_cannot_be_used_is_refused_in_one_line(tmp_path):
    settings = settings_in(tmp_path)
    with pytest.raises(ModelRefused, match=r"^Model 'stripes:raw': the function must return a compiled model"):
        build_evaluator(replace(settings, model="stripes:raw"))
    (tmp_path / "other.py").write_text(EXPERIMENT.replace("[1e-3, 2e-3, 1e30]", "[1e30, 1e-3]"))
    with pytest.raises(
        ModelRefused, match=r"^Model 'other:build': training gave weights that are not finite"
    ) as caught:
        build_evaluator(replace(settings, model="other:build"))
    assert "\n" not in str(caught.value)
    (tmp_path / "small.py").write_text(EXPERIMENT.replace("(200, 8, 8, 1)", "(200, 8, 9, 1)"))
    with pytest.raises(DataError, match="takes shape"):
        build_evaluator(replace(settings, data="small:data"))
