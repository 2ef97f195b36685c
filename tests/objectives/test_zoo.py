import numpy as np
import pytest

from paretune.objectives import zoo
from paretune.objectives.keras_door import keras

pytestmark = pytest.mark.tensorflow

MODELS_WITH_DATA = {
    "digits_resnet": ("digits_data", (8, 8, 1), 1797),
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
    assert counts[0] == pytest.approx(0.6 * rows, abs=1)
    assert abs(counts[1] - counts[2]) <= 1
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


def test_shifted_copies_hold_every_epoch_in_another_order_moved_by_at_most_a_pixel():
    image = np.zeros((8, 8, 1), np.float32)
    image[3, 4] = 1
    x, y = zoo._shifted_copies(np.stack([image, image * 2]), np.array([1, 2]), copies=50)
    assert x.shape == (100, 8, 8, 1)
    assert all(set(y[start : start + 2]) == {1, 2} for start in range(0, 100, 2))
    assert (x.max(axis=(1, 2, 3)) == y).all()
    places = {tuple(np.argwhere(moved)[0][:2]) for moved in x}
    assert places == {(row, column) for row in (2, 3, 4) for column in (3, 4, 5)}


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
