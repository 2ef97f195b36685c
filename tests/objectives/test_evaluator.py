"""The whole way of a trial on a real model: train, export, read back, measure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paretune.objectives.evaluator import build_evaluator
from paretune.objectives.kernels.weights import unpack_weights
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.settings import EvaluatorSettings
from paretune.objectives.templates import conversion
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import layers_under
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, ExportRecipe
from paretune.spaces.errors import Infeasible, ModelRefused
from paretune.spaces.policies.building import SpaceSettings, build_space
from paretune.spaces.policies.decompositions import SPATIAL
from paretune.spaces.policies.normal_form import normal_form
from paretune.spaces.policies.policy import LayerPolicy, Policy, untouched_policy
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.evaluator import Split
from paretune.spaces.results.objective import Direction, FileFunction, Objective
from tests.contracts.evaluator import SHORT_RECIPE, EvaluatorContract, candidate_of
from tests.objectives.costs.test_vela import HAS_VELA

pytestmark = pytest.mark.tensorflow

EXPERIMENT = """
from pathlib import Path

import numpy as np
import tf_keras as keras


def model():
    with Path(__file__).with_name("calls.txt").open("a") as calls:
        calls.write("called\\n")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Conv2D(8, 3, name="conv2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = data()
    model.fit(x, y, epochs=3, verbose=0)
    return model


def data():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 200)
    images = generator.normal(0, 0.3, (200, 8, 8, 1)).astype(np.float32)
    images[np.arange(200), labels * 2] += 1
    return images, labels
"""


def settings_in(folder: Path) -> EvaluatorSettings:
    (folder / "stripes.py").write_text(EXPERIMENT)
    return EvaluatorSettings(
        model="stripes:model", data="stripes:data", beside=str(folder), cache_folder=str(folder / "cache")
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return settings_in(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def keras_evaluator(settings):
    return build_evaluator(settings)


class TestKerasEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, keras_evaluator):
        return keras_evaluator


def test_a_function_that_trains_its_model_is_called_once_for_all_processes(settings, keras_evaluator):
    again = build_evaluator(settings)
    assert again.describe().architecture == keras_evaluator.describe().architecture
    assert (Path(settings.beside) / "calls.txt").read_text().count("called") == 1


@pytest.mark.slow
def test_a_broken_cache_entry_is_a_miss(tmp_path):
    settings = settings_in(tmp_path)
    first = build_evaluator(settings).describe()
    (entry,) = (tmp_path / "cache" / "models").glob("*.zip")
    entry.write_bytes(entry.read_bytes()[:-200])
    assert build_evaluator(settings).describe().architecture == first.architecture
    assert (tmp_path / "calls.txt").read_text().count("called") == 2


def test_the_fingerprint_tells_other_data_apart(tmp_path, keras_evaluator):
    settings = settings_in(tmp_path)
    changed = EXPERIMENT.replace("normal(0, 0.3", "normal(0, 0.31")
    (tmp_path / "stripes.py").write_text(changed)
    before, after = keras_evaluator.describe().fingerprint, build_evaluator(settings).describe().fingerprint
    assert before["data"] != after["data"]


def test_leaving_every_layer_alone_gives_the_baseline_file(keras_evaluator):
    description = keras_evaluator.describe()
    candidate = candidate_of(keras_evaluator, LayerPolicy())
    assert candidate.policy == untouched_policy(description.layers)
    measurement = keras_evaluator.evaluate(candidate, Rung.FULL, Limit())
    assert measurement.artifacts["model.tflite"] == keras_evaluator.baseline().artifacts["model.tflite"]


def test_the_test_split_is_measured_on_request_only(keras_evaluator):
    baseline = keras_evaluator.baseline()
    on_test = keras_evaluator.remeasure(baseline.artifacts["model.tflite"], Split.TEST)
    assert set(on_test) == set(baseline.values) - {"latency_ratio"}


PRUNED = LayerPolicy(sparsity=0.5, quantization=Quantization.INT8)
CLUSTERED = LayerPolicy(clusters=8, quantization=Quantization.INT8)
DENSE = LayerPolicy(quantization=Quantization.INT8)
SPARSE = LayerPolicy(sparsity=0.8)


def test_files_of_equal_formats_share_one_measured_latency(keras_evaluator):
    first, second = (
        keras_evaluator.evaluate(candidate_of(keras_evaluator, wish), Rung.FULL, Limit()) for wish in (PRUNED, DENSE)
    )
    assert first.values["latency_ratio"] == second.values["latency_ratio"]


def proxies(evaluator, *wishes):
    return [evaluator.evaluate(candidate_of(evaluator, wish), Rung.PROXY, Limit()) for wish in wishes]


def test_a_proxy_is_not_timed_unless_that_was_asked_for(keras_evaluator):
    assert all("latency_ratio" not in proxy.values for proxy in proxies(keras_evaluator, DENSE, PRUNED))


def test_on_request_a_proxy_is_timed_where_formats_alone_differ(settings):
    """Zeros and clusters leave the latency alone: it is measured without them."""
    timing = build_evaluator(replace(settings, proxy_latency=True))
    dense, pruned, clustered = proxies(timing, DENSE, PRUNED, CLUSTERED)
    assert dense.values["latency_ratio"] > 0
    assert "latency_ratio" not in {**pruned.values, **clustered.values}
    trained = timing.evaluate(candidate_of(timing, PRUNED), Rung.FULL, Limit())
    assert trained.values["latency_ratio"] == dense.values["latency_ratio"]


def test_batch_norm_is_recalibrated_where_nothing_is_trained_and_nowhere_else(keras_evaluator, monkeypatch):
    def evaluate(rung):
        return keras_evaluator.evaluate(candidate_of(keras_evaluator, SPARSE), rung, Limit())

    before = {rung: evaluate(rung).values["loss"] for rung in (Rung.PROXY, Rung.FULL)}
    monkeypatch.setattr(keras_evaluator, "_recalibrate", lambda weights: weights)
    after = {rung: evaluate(rung).values["loss"] for rung in (Rung.PROXY, Rung.FULL)}
    assert before[Rung.PROXY] != after[Rung.PROXY]
    assert before[Rung.FULL] == after[Rung.FULL]


def test_a_proxy_comes_out_the_same_whatever_was_trained_before(keras_evaluator):
    first = proxies(keras_evaluator, PRUNED, CLUSTERED)
    keras_evaluator.evaluate(candidate_of(keras_evaluator, SPARSE), Rung.FULL, Limit())
    again = proxies(keras_evaluator, CLUSTERED, PRUNED)
    assert [proxy.values for proxy in again] == [proxy.values for proxy in reversed(first)]
    assert [proxy.fidelity for proxy in again] == [proxy.fidelity for proxy in reversed(first)]


LSTM_AND_GRU = """
import numpy as np
import tf_keras as keras


def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 4))
    x = keras.layers.LSTM(5, return_sequences=True, name="lstm")(inputs)
    x = keras.layers.GRU(5, name="gru")(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="kind")(x))


def data():
    generator = np.random.default_rng(0)
    return generator.normal(size=(60, 6, 4)).astype(np.float32), generator.integers(0, 3, 60)
"""


@pytest.mark.slow
def test_a_model_that_its_file_computes_otherwise_is_refused_before_anything_is_searched(tmp_path, monkeypatch):
    """As the converter leaves it, the file starts the GRU from the state that the LSTM ended in."""
    (tmp_path / "states.py").write_text(LSTM_AND_GRU)
    settings = EvaluatorSettings(model="states:model", data="states:data", beside=str(tmp_path))
    assert build_evaluator(settings).describe().layers
    monkeypatch.setattr(conversion, "with_own_states", lambda file: file)
    with pytest.raises(ModelRefused, match="must compute what the Keras model computes, but its output 'kind' is off"):
        build_evaluator(settings)


@pytest.mark.slow
def test_what_is_asked_for_beyond_is_measured_of_every_file(settings):
    """Of the uncompressed file too, for which the one in int8 stands where only integers run."""
    (Path(settings.beside) / "boards.py").write_text("def pages(model):\n    return len(model) / 256\n")
    pages = Objective(name="pages", direction=Direction.MINIMIZE, log=True)
    asked = ("vela_cycles", "vela_size_bytes") if HAS_VELA else ()
    evaluator = build_evaluator(
        replace(settings, functions=(FileFunction(objective=pages, function="boards:pages"),), asked=asked)
    )
    description = evaluator.describe()
    assert description.objectives["pages"] == pages
    assert set(asked) <= set(description.objectives)
    assert "objective pages" in description.fingerprint
    baseline, (proxy,) = evaluator.baseline(), proxies(evaluator, DENSE)
    for values in (baseline.values, proxy.values):
        assert {"pages", *asked} <= set(values)
        assert values["pages"] == values["raw_bytes"] / 256
    assert all(proxy.values[name] == baseline.values[name] for name in asked)
    if asked:
        with pytest.raises(Infeasible, match="Ethos-U multiplies in static int8 alone"):
            proxies(evaluator, SPARSE)


def few_values(evaluator, clusters, sparsity, form, scope):
    """Return a candidate whose layers have so few values, in a format where they support it."""
    description = evaluator.describe()
    policy = Policy(
        tuple(
            (
                spec.name,
                normal_form(
                    spec,
                    LayerPolicy(
                        sparsity=sparsity,
                        clusters=clusters,
                        quantization=form if form in spec.quantizations else Quantization.INT4,
                    ),
                ),
            )
            for spec in description.layers
        )
    )
    assert {decided.clusters for decided in policy.values()} == {clusters}
    assert form in {decided.quantization for decided in policy.values()}
    recipe = replace(SHORT_RECIPE, cluster=ClusterRecipe(epochs=1.0, scope=scope, initialisation="kmeans++"))
    return Candidate(architecture=description.architecture, recipe=recipe, policy=policy)


@pytest.mark.parametrize("form", Quantization)
@pytest.mark.parametrize(("clusters", "sparsity"), [(2, 0.0), (3, 0.5), (4, 0.0)])
def test_codebooks_of_few_values_reach_the_file_in_every_format(keras_evaluator, clusters, sparsity, form):
    for scope in ("tensor", "channel"):
        asked = few_values(keras_evaluator, clusters, sparsity, form, scope)
        fidelity = keras_evaluator.evaluate(asked, Rung.PROXY, Limit()).fidelity
        assert fidelity.faults == ()
        assert all(layer.distinct <= clusters for layer in fidelity.layers)
        if scope == "channel":
            assert "tensor" not in {layer.distinct_scope for layer in fidelity.layers}


@pytest.mark.parametrize(
    ("clusters", "sparsity", "scope"),
    [(2, 0.0, "channel"), pytest.param(2, 0.0, "tensor", marks=pytest.mark.slow), (3, 0.5, "channel")],
)
def test_binary_and_ternary_weights_are_trained_to_be_rounded(keras_evaluator, clusters, sparsity, scope):
    asked = few_values(keras_evaluator, clusters, sparsity, Quantization.INT8_QAT, scope)
    measurement = keras_evaluator.evaluate(asked, Rung.FULL, Limit())
    assert measurement.fidelity.faults == ()
    assert "fallback" not in measurement.details
    weights = unpack_weights(measurement.artifacts["weights.npz"])
    for name in ("conv", "conv2", "head"):
        kernel = weights[name][0]
        per_channel = [np.unique(kernel[..., channel]).size for channel in range(kernel.shape[-1])]
        assert max(per_channel) == clusters
        assert (np.unique(kernel).size > clusters) == (scope == "channel")


def test_a_model_that_does_not_exist_is_refused_in_one_line(tmp_path):
    settings = EvaluatorSettings(model="nothing.keras", data="stripes:data", beside=str(tmp_path))
    with pytest.raises(ModelRefused, match=r"nothing\.keras") as caught:
        build_evaluator(settings)
    assert "\n" not in str(caught.value)


NARROW = LayerPolicy(channels=0.5, sparsity=0.5, clusters=8, quantization=Quantization.INT8)


def test_removed_channels_are_gone_from_the_file_and_the_rest_is_as_asked(keras_evaluator):
    """BatchNorm folds in between, and a Dense layer reads the channels flattened."""
    whole, narrow = (
        keras_evaluator.evaluate(candidate_of(keras_evaluator, wish), Rung.FULL, Limit()) for wish in (PRUNED, NARROW)
    )
    assert narrow.fidelity.is_clean
    assert {row.layer: (row.channels, row.weights) for row in narrow.fidelity.layers} == {
        "conv": (4, 9 * 4),
        "conv2": (4, 9 * 4 * 4),
        "head": (0, 4 * 4 * 4 * 4),
    }
    assert narrow.values["raw_bytes"] < whole.values["raw_bytes"]
    assert narrow.values["latency_ratio"] != whole.values["latency_ratio"]
    assert narrow.values["accuracy"] > 0.5


def test_repairs_of_the_recipe_change_the_file_and_nothing_that_the_policy_asked_for(keras_evaluator):
    plain = candidate_of(keras_evaluator, LayerPolicy(quantization=Quantization.INT8))
    files = set()
    for repairs in (ExportRecipe(), ExportRecipe(equalise=True), ExportRecipe(correct_bias=True)):
        candidate = replace(plain, recipe=replace(plain.recipe, export=repairs))
        measured = keras_evaluator.evaluate(candidate, Rung.FULL, Limit())
        assert not measured.fidelity.faults
        assert measured.training_steps == 0
        files.add(measured.artifacts["model.tflite"])
    assert len(files) == 3


def test_a_teacher_changes_what_a_stage_trains_and_the_same_again_gives_the_same_file(keras_evaluator):
    plain = candidate_of(keras_evaluator, LayerPolicy(sparsity=0.5))
    recipe = replace(plain.recipe, prune=replace(plain.recipe.prune, distillation=0.5))
    taught = replace(plain, recipe=recipe)
    files = [
        keras_evaluator.evaluate(candidate, Rung.FULL, Limit()).artifacts["model.tflite"]
        for candidate in (plain, taught, taught)
    ]
    assert files[0] != files[1] == files[2]


def test_narrow_layers_are_taught_and_repaired_as_whole_ones_are(keras_evaluator):
    plain = candidate_of(keras_evaluator, LayerPolicy(channels=0.5, quantization=Quantization.INT8))
    taught = replace(plain.recipe.structure, distillation=0.5)
    repairs = ExportRecipe(equalise=True, correct_bias=True)
    candidates = (plain, replace(plain, recipe=replace(plain.recipe, structure=taught, export=repairs)))
    before, after = (keras_evaluator.evaluate(candidate, Rung.FULL, Limit()) for candidate in candidates)
    assert before.fidelity.is_clean
    assert after.fidelity.is_clean
    assert [row.weights for row in after.fidelity.layers] == [row.weights for row in before.fidelity.layers]
    assert after.artifacts["model.tflite"] != before.artifacts["model.tflite"]
    assert after.values["accuracy"] > 0.5


def test_repairs_reach_kernels_of_low_rank(keras_evaluator):
    space = build_space(keras_evaluator.describe().layers, SpaceSettings())
    layers = {name: {"rank": 2, "quantization": "int8"} for name in ("conv", "conv2", "head")}
    plain = replace(candidate_of(keras_evaluator, DENSE), policy=space.resolve({"layers": layers}))
    repairs = ExportRecipe(equalise=True, correct_bias=True)
    measured = [
        keras_evaluator.evaluate(replace(plain, recipe=recipe), Rung.PROXY, Limit())
        for recipe in (plain.recipe, replace(plain.recipe, export=repairs))
    ]
    assert all(each.fidelity.is_clean for each in measured)
    assert measured[0].values["loss"] != measured[1].values["loss"]


def spatially(candidate):
    structure = replace(candidate.recipe.structure, decomposition=SPATIAL)
    return replace(candidate, recipe=replace(candidate.recipe, structure=structure))


@pytest.mark.parametrize("rung", [Rung.PROXY, pytest.param(Rung.FULL, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("form", "stored_as"), [("float32", "float32"), ("int8_qat", "int8"), ("int4", "int4")])
def test_a_window_of_low_rank_is_stored_as_a_column_and_a_row_in_every_format(keras_evaluator, rung, form, stored_as):
    by_channels = candidate_of(keras_evaluator, DENSE)
    asked = spatially(by_channels)
    ranks = {"conv": {"rank": 2}, "conv2": {"rank": 3, "channels": 0.5}, "head": {"rank": 2}}
    layers = {name: {**decided, "quantization": form} for name, decided in ranks.items()}
    space = build_space(layers_under(asked.recipe, keras_evaluator.describe().layers), SpaceSettings())
    assert [spec.largest_rank for spec in space.layers] == [2, 11, 3]
    asked, by_channels = (replace(each, policy=space.resolve({"layers": layers})) for each in (asked, by_channels))
    measured = keras_evaluator.evaluate(asked, rung, Limit())
    assert measured.fidelity.is_clean, measured.fidelity.faults
    assert {row.layer: (row.channels, row.rank, row.weights, row.stored_as) for row in measured.fidelity.layers} == {
        "conv": (8, 2, 2 * (3 * 1 + 3 * 8), stored_as),
        "conv2": (4, 3, 3 * (3 * 8 + 3 * 4), stored_as),
        "head": (0, 2, 2 * (64 + 4), stored_as),
    }
    # the same ranks by channels: another file, and other arithmetic
    assert measured.values["macs"] != keras_evaluator.evaluate(by_channels, Rung.PROXY, Limit()).values["macs"]


def test_kernels_of_low_rank_are_stored_as_two_and_timed_untrained(settings):
    timing = build_evaluator(replace(settings, proxy_latency=True))
    layers = {"conv": {"rank": 2}, "conv2": {"rank": 3, "channels": 0.5}, "head": {"rank": 2, "quantization": "int8"}}
    space = build_space(timing.describe().layers, SpaceSettings())
    assert [len(spec.energies) for spec in space.layers] == [4, 7, 3]
    candidate = replace(candidate_of(timing, DENSE), policy=space.resolve({"layers": layers}))
    for rung in (Rung.PROXY, Rung.FULL):
        lowered = timing.evaluate(candidate, rung, Limit())
        assert lowered.fidelity.is_clean, lowered.fidelity.faults
        assert {row.layer: (row.rank, row.weights, row.stored_as) for row in lowered.fidelity.layers} == {
            "conv": (2, 2 * (9 + 8), "float32"),
            "conv2": (3, 3 * (72 + 4), "float32"),
            "head": (2, 2 * (64 + 4), "int8"),
        }
        assert lowered.values["latency_ratio"] != timing.baseline().values["latency_ratio"]
    spatial = timing.evaluate(spatially(candidate), Rung.PROXY, Limit())
    assert spatial.values["latency_ratio"] != timing.evaluate(candidate, Rung.PROXY, Limit()).values["latency_ratio"]
    model = fresh_copy(timing._model, unpack_weights(lowered.artifacts["weights.npz"]))
    validation = timing._data.validation
    loss = timing._task.losses()[0](validation.targets[0], model(validation.inputs[0], training=False)).numpy()
    assert lowered.values["loss"] == pytest.approx(loss, rel=0.01)  # so much is lost in int8
