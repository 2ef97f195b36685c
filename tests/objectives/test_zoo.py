import numpy as np
import pytest

from paretune.objectives import zoo
from paretune.objectives.keras_door import keras

pytestmark = pytest.mark.tensorflow

MODELS_WITH_DATA = {
    "digits_resnet": ("digits_data", (8, 8, 1), 9 * 1797),
    "digit_rows_lstm": ("digit_rows_data", (8, 8), 1797),
    "breast_cancer_mlp": ("breast_cancer_data", (30,), 569),
    "diabetes_mlp": ("diabetes_data", (10,), 442),
}


@pytest.mark.parametrize(("source", "shape", "rows"), MODELS_WITH_DATA.values())
def test_data_is_split_60_20_20_and_the_same_every_time(source, shape, rows):
    data, again = getattr(zoo, source)(), getattr(zoo, source)()
    assert set(data) == {"x_train", "y_train", "x_val", "y_val", "x_test", "y_test"}
    assert all((data[name] == again[name]).all() for name in data)
    counts = [len(data[f"x_{split}"]) for split in ("train", "val", "test")]
    assert sum(counts) == rows
    assert counts[0] == pytest.approx(0.6 * rows, abs=9)
    assert abs(counts[1] - counts[2]) <= 9
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        x, y = data[f"x_{split}"], data[f"y_{split}"]
        assert (x.shape, x.dtype, len(y)) == ((count, *shape), np.float32, count)


def test_no_sample_is_in_two_splits():
    data = zoo.diabetes_data()
    rows = np.concatenate([data["x_train"], data["x_val"], data["x_test"]])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_columns_are_standardised_by_the_training_data_alone():
    data = zoo.breast_cancer_data()
    assert np.allclose(data["x_train"].mean(axis=0), 0, atol=1e-5)
    assert np.allclose(data["x_train"].std(axis=0), 1, atol=1e-4)
    assert not np.allclose(data["x_test"].mean(axis=0), 0, atol=1e-2)


def test_digits_come_in_nine_positions_that_stay_in_one_split():
    data = zoo.digits_data()
    positions, labels = data["x_train"][:9], data["y_train"][:9]
    assert len(set(labels)) == 1
    unmoved = positions[4]
    assert (positions[0][1:, 1:] == unmoved[:-1, :-1]).all()  # one down and to the right, filled with 0
    assert not positions[0][0].any()
    assert (positions[8][:-1, :-1] == unmoved[1:, 1:]).all()


@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [("digits_resnet", 10, 78_426), ("digit_rows_lstm", 3, 21_098), ("breast_cancer_mlp", 3, 4_097)],
)
def test_models_build_untrained_with_the_size_they_claim(name, layers, parameters, monkeypatch):
    monkeypatch.setattr(zoo, "_train", lambda model, *_, **__: model)
    model = getattr(zoo, name)()
    assert model.count_params() == parameters
    kinds = (keras.layers.Conv2D, keras.layers.Dense, keras.layers.LSTM)
    assert sum(isinstance(layer, kinds) for layer in model.layers) == layers


@pytest.mark.parametrize(
    ("values", "layers", "parameters"),
    [({}, 5, 16_986), ({"width": 8}, 5, 4_466), ({"width": 32, "depth": 3}, 7, 289_066), ({"depth": 1}, 3, 2_746)],
)
def test_the_model_that_is_built_for_its_hyperparameters_grows_with_them(values, layers, parameters):
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    hp.values = {"learning_rate": 1e-2, **values}
    model = zoo.digits_cnn(hp)
    assert [each.name for each in hp.space] == ["width", "depth", "learning_rate"]
    assert model.count_params() == parameters
    assert sum(isinstance(layer, keras.layers.Conv2D | keras.layers.Dense) for layer in model.layers) == layers
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(1e-2)


@pytest.mark.slow
def test_the_model_that_is_built_for_its_hyperparameters_can_be_trained():
    from keras_tuner import HyperParameters

    keras.utils.set_random_seed(0)
    data, model = zoo.digits_data(), zoo.digits_cnn(HyperParameters())
    model.fit(data["x_train"], data["y_train"], epochs=6, batch_size=64, verbose=0)
    predicted = model.predict(data["x_test"], verbose=0).argmax(axis=1)
    assert np.mean(predicted == data["y_test"]) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("digits_resnet", 0.98), ("digit_rows_lstm", 0.95), ("breast_cancer_mlp", 0.95)]
)
def test_a_trained_classifier_reaches_its_accuracy(name, least):
    data = getattr(zoo, MODELS_WITH_DATA[name][0])()
    output = getattr(zoo, name)().predict(data["x_test"], verbose=0)
    predicted = output.argmax(axis=1) if output.shape[1] > 1 else output[:, 0] > 0.5
    assert np.mean(predicted == data["y_test"]) >= least


@pytest.mark.slow
def test_the_trained_regression_is_well_below_the_error_of_the_median():
    data = zoo.diabetes_data()
    x, y = (np.concatenate([data[f"{side}_val"], data[f"{side}_test"]]) for side in "xy")
    error = np.abs(zoo.diabetes_mlp().predict(x, verbose=0)[:, 0] - y).mean()
    assert error < 0.85 * np.abs(np.median(data["y_train"]) - y).mean()


@pytest.mark.slow
def test_training_again_gives_the_same_weights():
    first, second = (zoo.breast_cancer_mlp().get_weights() for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, second, strict=True))
