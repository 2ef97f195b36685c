from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, r2_score

from paretune.objectives.data.dataset import Dataset, Samples
from paretune.objectives.keras_door import keras
from paretune.objectives.tasks.scores import f1_macro, r2
from paretune.objectives.tasks.task import Task, build_task
from paretune.spaces.errors import ConfigurationError, DataError, MeasurementFailed
from paretune.spaces.results.objective import Direction

pytestmark = pytest.mark.tensorflow


def model_with(units: int, activation: str | None = None):
    return keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(units, activation=activation, name="out")])


def dataset_of(*targets: np.ndarray) -> Dataset:
    samples = Samples((np.zeros((len(targets[0]), 4), np.float32),), targets)
    return Dataset(train=samples, validation=samples, test=samples)


def task_of(model, *targets: np.ndarray, kind=None, metric=None, direction=None, beside=Path()) -> Task:
    return build_task(kind, metric, model, dataset_of(*targets), beside, direction=direction)


LABELS = np.array([0, 1, 2, 2], np.int32)
YES_NO = np.array([[0], [1], [1], [0]], np.int32)
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("targets", [LABELS, ONE_HOT])
def test_classes_are_scored_and_trained_alike_from_logits_and_probabilities_sparse_and_one_hot(activation, targets):
    task = task_of(model_with(3, activation), targets)
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.2, 0.1]], np.float32))
    output = logits if activation is None else np.exp(logits)
    assert task.score([targets], [output]) == 0.75
    (loss,) = task.losses()
    assert float(loss(targets, output)) == pytest.approx((-3 * np.log(0.7) - np.log(0.1)) / 4, rel=1e-5)
    assert task.objective.direction is Direction.MAXIMIZE


@pytest.mark.parametrize(
    ("activation", "output"), [(None, [[-1], [0.2], [-3], [-1]]), ("sigmoid", [[0], [1], [0], [0]])]
)
def test_one_unit_is_scored_at_the_middle_of_its_range(activation, output):
    task = task_of(model_with(1, activation), YES_NO)
    assert (task.objective.name, task.score([YES_NO], [np.array(output)])) == ("accuracy", 0.75)
    assert task.losses()[0].get_config()["from_logits"] is (activation is None)


def test_numbers_are_regression_with_the_mean_absolute_error():
    targets = np.array([[1.0], [2.0], [4.0]], np.float32)
    task = task_of(model_with(1), targets)
    assert (task.objective.name, task.objective.direction) == ("mae", Direction.MINIMIZE)
    assert task.score([targets], [targets + np.float32([[0], [0], [3]])]) == 1.0
    assert type(task.losses()[0]) is keras.losses.MeanAbsoluteError
    rmse = task_of(model_with(1), targets, metric="rmse")
    assert rmse.score([targets], [targets + 2]) == 2.0


def test_the_kind_is_told_from_activation_and_targets():
    counts = np.array([[3], [17], [4]], np.int32)
    assert task_of(model_with(1), counts).objective.name == "mae"
    assert task_of(model_with(1), YES_NO.astype(np.float32)).objective.name == "mae"
    assert task_of(model_with(1, "sigmoid"), YES_NO.astype(np.float32)).objective.name == "accuracy"
    assert task_of(model_with(1, "sigmoid"), np.array([[0.3], [0.9]], np.float32)).objective.name == "mae"
    assert task_of(model_with(3), LABELS.astype(np.float32)).objective.name == "accuracy"
    assert task_of(model_with(3), ONE_HOT).objective.name == "accuracy"
    assert task_of(model_with(3), ONE_HOT * np.float32(0.5)).objective.name == "mae"


def test_the_last_activation_is_found_behind_reshapes_and_inside_nested_models():
    inner = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(3), keras.layers.Softmax(), keras.layers.Reshape((3,))]
    )
    x = keras.Input((4,))
    assert task_of(keras.Model(x, inner(x)), LABELS).outputs[0].activation == "softmax"
    assert task_of(model_with(3, "relu"), LABELS).outputs[0].gives_probabilities is False


def test_several_labels_per_row_are_scored_label_by_label():
    targets = np.array([[1, 1, 0], [0, 0, 0]], np.int32)
    task = task_of(model_with(3, "sigmoid"), targets, metric="f1_macro")
    output = np.array([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]])
    assert task.score([targets], [output]) == pytest.approx(1 / 3)
    assert type(task.losses()[0]) is keras.losses.BinaryCrossentropy


def test_macro_f1_and_r2_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 5, 60), rng.integers(0, 6, 60)
    assert f1_macro(truth, predicted) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    numbers, guesses = rng.random((60, 2)), rng.random((60, 2))
    assert r2(numbers, guesses) == pytest.approx(r2_score(numbers, guesses))


def test_the_score_over_several_outputs_is_their_mean_and_each_has_its_loss():
    x = keras.Input((4,))
    model = keras.Model(x, [keras.layers.Dense(3, "softmax", name="a")(x), keras.layers.Dense(1, name="b")(x)])
    task = task_of(model, LABELS, YES_NO)
    assert task.score([LABELS, YES_NO], [ONE_HOT, np.full((4, 1), -1.0)]) == 0.75
    kinds = [type(loss) for loss in task.losses()]
    assert kinds == [keras.losses.SparseCategoricalCrossentropy, keras.losses.BinaryCrossentropy]


def test_mixed_outputs_need_a_metric_of_the_users_own(tmp_path: Path):
    x = keras.Input((4,))
    model = keras.Model(x, [keras.layers.Dense(3, "softmax", name="a")(x), keras.layers.Dense(1, name="b")(x)])
    prices = np.array([[0.5], [1.5], [2.5], [3.5]], np.float32)
    with pytest.raises(ConfigurationError, match="must share one task"):
        task_of(model, LABELS, prices)
    (tmp_path / "own.py").write_text("def both(truth, predicted):\n    return len(truth) * predicted[1].mean()\n")
    task = task_of(model, LABELS, prices, metric="own:both", beside=tmp_path)
    assert task.score([LABELS, prices], [ONE_HOT, prices]) == 4.0


def test_a_metric_of_the_users_own_says_its_direction(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "def error(y_true, y_pred):\n    return abs(y_true - y_pred).max()\n"
        "error.direction = 'minimize'\n"
        "def plain(y_true, y_pred):\n    return float('nan')\n"
        "def size_bytes(y_true, y_pred):\n    return 1\n"
        "def broken(y_true, y_pred):\n    raise KeyError('x')\n"
    )

    def task(name: str, direction: str | None = None) -> Task:
        return task_of(model_with(1), targets, metric=f"mine:{name}", direction=direction, beside=tmp_path)

    targets = np.array([[1.0], [2.0]], np.float32)
    assert task("error").objective.direction is Direction.MINIMIZE
    assert task("error", "maximize").objective.direction is Direction.MAXIMIZE
    assert task("error").score([targets], [targets + 3]) == 3.0
    with pytest.raises(MeasurementFailed, match="Metric 'plain' must be a finite number, got nan"):
        task("plain").score([targets], [targets])
    with pytest.raises(MeasurementFailed, match="Metric 'mine:broken' failed: KeyError: 'x'"):
        task("broken").score([targets], [targets])
    with pytest.raises(ConfigurationError, match="must not be called size_bytes"):
        task("size_bytes")
    with pytest.raises(ConfigurationError, match="must be maximize or minimize, got 'up'"):
        task("plain", "up")


def test_outputs_that_are_no_numbers_fail_the_measurement():
    task = task_of(model_with(3), LABELS)
    with pytest.raises(MeasurementFailed, match="Output 'out' must be finite"):
        task.score([LABELS], [np.full((4, 3), np.nan)])


@pytest.mark.parametrize(
    ("units", "targets", "message"),
    [
        (3, np.array([0, 1, 3]), "labels must be 0..2 for 3 outputs, got 3 (y_train, row 2)."),
        (3, np.array([0, -1, 2]), "labels must be 0..2 for 3 outputs, got -1 (y_train, row 1)."),
        (3, np.array([1, 2, 3]), "got 3 (y_train, row 2). They seem to count from 1: subtract 1."),
        (3, np.array([0.0, 0.5, 1.0]), "labels must be 0..2 for 3 outputs, got 0.5 (y_train, row 1)."),
        (1, np.array([[0], [2]]), "labels must be 0 or 1, got 2 (y_train, row 1)."),
        (3, np.zeros((2, 4)), "must have shape (rows, 3), got (2, 4) (y_train)."),
        (3, np.eye(3) * 2, "labels must be 0 or 1, got 2 (y_train, row 0)."),
    ],
)
def test_targets_that_no_class_can_have_are_refused_with_their_place(units, targets, message):
    task = task_of(model_with(units), targets, kind="classification")
    with pytest.raises(DataError) as error:
        task.check(dataset_of(targets))
    assert message in str(error.value)


def test_fitting_targets_pass_the_check():
    for units, targets in ((3, LABELS), (3, ONE_HOT), (1, YES_NO)):
        task_of(model_with(units), targets, kind="classification").check(dataset_of(targets))
    task_of(model_with(2), np.random.default_rng(0).random((5, 2))).check(dataset_of(np.zeros((5, 2))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "clasification"}, "Did you mean 'classification'?"),
        ({"metric": "acuracy"}, "Did you mean 'accuracy'?"),
        ({"metric": "mae"}, "of a classification task must be accuracy, f1_macro or module:function, got 'mae'"),
        ({"direction": "minimize"}, "`direction` is for a metric of your own"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigurationError) as error:
        task_of(model_with(3), LABELS, **settings)
    assert message in str(error.value)


def test_the_metric_of_chosen_rows_is_that_of_these_rows_alone(tmp_path: Path):
    (tmp_path / "mine.py").write_text("def worst(y_true, y_pred):\n    return abs(y_true - y_pred).max()\n")
    targets = np.array([[1.0], [2.0], [4.0]], np.float32)
    outputs = targets + np.float32([[0], [1], [3]])
    rows = np.array([1, 1, 0])
    for metric, expected in (("mine:worst", 1.0), ("mae", 2 / 3)):
        task = task_of(model_with(1), targets, metric=metric, beside=tmp_path)
        score = task.by_rows([targets], [outputs])
        assert score(rows) == pytest.approx(expected)
        assert score(None) == task.score([targets], [outputs])


def test_rows_have_labels_where_each_has_one_class():
    task = task_of(model_with(3), LABELS)
    labels = task.labels([LABELS], [ONE_HOT])
    assert labels is not None
    assert labels[0].tolist() == LABELS.tolist()
    assert labels[1].tolist() == ONE_HOT.argmax(axis=-1).tolist()
    prices = np.array([[1.5], [2.0], [4.0], [3.0]], np.float32)
    assert task_of(model_with(1), prices).labels([prices], [prices]) is None
