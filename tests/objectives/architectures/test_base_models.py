"""Base models are trained once, and kept by all that decides what they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paretune.objectives.architectures import base_models
from paretune.objectives.architectures.base_models import BaseModels
from paretune.objectives.architectures.hypermodel import find_hypermodel
from paretune.objectives.keras_door import keras
from paretune.objectives.measure.turnstile import Turnstile
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.hyperspace import OFF
from paretune.spaces.errors import DataError, ModelRefused

pytestmark = [
    pytest.mark.tensorflow,
    # Variables of Keras 3 predate the copy keyword of NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

EXPERIMENT = """
import numpy as np


def classifier(keras, hp):
    inputs = keras.Input((6,))
    x = inputs
    for layer in range(hp.Int("layers", 1, 2)):
        x = keras.layers.Dense(hp.Choice(f"units_{layer}", [4, 8]), activation="relu")(x)
        if layer and hp.get("units_1") == 8:
            x = keras.layers.Dropout(hp.Choice("dropout", [0.1, 0.2]))(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def build(hp):
    import tf_keras

    return classifier(tf_keras, hp)


def build_3(hp):
    import keras

    return classifier(keras, hp)


def lonely(hp):
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((5,)), tf_keras.layers.Dense(3)])
    model.compile("adam", "mse")
    return model


def data():
    generator = np.random.default_rng(0)
    return generator.normal(size=(60, 6)), generator.integers(0, 3, 60)
"""


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "small.py").write_text(EXPERIMENT)
    return EvaluatorSettings(
        model="small:build",
        data="small:data",
        beside=str(tmp_path),
        base_epochs=1,
        base_batch_size=32,
        cache_folder=str(tmp_path / "cache"),
    )


@pytest.fixture
def trained(monkeypatch):
    """Values of the base models that were trained."""
    values_of_all = []

    def train(hypermodel, values, *rest):
        values_of_all.append(dict(values))
        return original(hypermodel, values, *rest)

    original = base_models.train_base
    monkeypatch.setattr(base_models, "train_base", train)
    return values_of_all


def models_of(settings):
    return BaseModels(settings, find_hypermodel(settings.model, Path(settings.beside)), Turnstile(None))


SMALL = {"layers": 1, "units_0": 4, "units_1": OFF}
DEEP = {"layers": 2, "units_0": 4, "units_1": 8}


@pytest.mark.parametrize("function", ["build", "build_3"])
def test_a_base_model_is_trained_once_for_all_processes(settings, trained, function):
    settings = replace(settings, model=f"small:{function}")
    first, again = models_of(settings), models_of(settings)
    assert [each.name for each in first.hyperspace] == list(SMALL)
    kept = [models.get(values)[0] for models in (first, again) for values in (SMALL, DEEP)]
    assert trained == [{"layers": 1, "units_0": 4}, DEEP]  # one that does not matter is not handed on
    assert isinstance(kept[2].model, keras.Model)
    for one, other in zip(kept[:2], kept[2:], strict=True):
        assert one.digest == other.digest
        assert (one.notes, one.training_seconds, one.training_steps) == (
            other.notes,
            other.training_seconds,
            other.training_steps,
        )
        assert one.training_steps == 2  # 42 rows in batches of 32
        assert all((a == b).all() for a, b in zip(one.model.get_weights(), other.model.get_weights(), strict=True))


def test_without_a_cache_folder_nothing_is_kept(settings, trained):
    settings = replace(settings, cache_folder=None)
    digests = {models_of(settings).get(SMALL)[0].digest for _ in range(2)}
    assert (len(trained), len(digests)) == (2, 1)


def test_a_broken_entry_is_a_miss_and_the_same_weights_come_again(settings, trained, tmp_path):
    first = models_of(settings).get(SMALL)[0]
    (entry,) = (tmp_path / "cache" / "models").glob("*.zip")
    entry.write_bytes(entry.read_bytes()[:-200])
    assert models_of(settings).get(SMALL)[0].digest == first.digest
    assert len(trained) == 2
    assert models_of(settings).get(SMALL)[0].digest == first.digest
    assert len(trained) == 2


@pytest.mark.parametrize("changes", [{"base_epochs": 2}, {"base_batch_size": 16}, {"seed": 1}])
def test_another_training_is_another_model(settings, trained, changes):
    before, after = models_of(settings), models_of(replace(settings, **changes))
    assert before.get(SMALL)[0].digest != after.get(SMALL)[0].digest
    assert len(trained) == 2
    assert before.digest != after.digest


def test_another_source_is_another_model(settings, trained, tmp_path):
    before = models_of(settings)
    before.get(SMALL)
    (tmp_path / "small.py").write_text(EXPERIMENT + "\n# changed\n")
    after = models_of(settings)
    after.get(SMALL)
    assert len(trained) == 2
    assert before.digest != after.digest


def test_other_data_in_the_same_place_is_another_model(settings, trained, tmp_path):
    settings = replace(settings, data="data.npz")
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(60, 6)), np.arange(60) % 3
    digests = []
    for shift in (0, 1):
        np.savez(tmp_path / "data.npz", x=x + shift, y=y)
        digests += [models_of(settings).get(SMALL)[0].digest for _ in range(2)]
    assert digests[0] == digests[1] != digests[2] == digests[3]
    assert len(trained) == 2


def test_models_share_the_arrays_of_the_data(settings):
    models = models_of(settings)
    arrays = [models.get(values)[1].train.inputs[0] for values in (SMALL, DEEP)]
    assert arrays[0] is arrays[1]


def test_a_hyperparameter_that_is_met_too_late_is_told_about(settings):
    models = models_of(settings)
    assert models.get(SMALL)[0].notes == ()
    (note,) = [note for note in models.get(DEEP)[0].notes if "Hyperparameter" in note]
    assert note.startswith("Hyperparameter 'dropout' was first met when this model was built")
    assert "keeps its default, 0.1;" in note


def test_a_model_without_hyperparameters_is_trained_all_the_same(settings, trained):
    models = models_of(replace(settings, model="small:lonely"))
    assert models.hyperspace == ()
    with pytest.raises(DataError, match=r"takes shape \(rows, 5\)"):
        models.get({})
    assert trained == []


def test_what_cannot_be_taken_over_is_refused_before_it_is_trained(settings, trained, tmp_path):
    (tmp_path / "odd.py").write_text("def build(hp):\n    return 3\n")
    with pytest.raises(ModelRefused, match=r"^Model 'odd:build': must be a Keras model, got int"):
        models_of(replace(settings, model="odd:build")).get({})
    assert trained == []
