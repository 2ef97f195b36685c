"""How far a model's answers are from its teacher's, against plain NumPy."""

import numpy as np
import pytest

from paretune.objectives.tasks.answer_losses import answer_losses
from paretune.objectives.tasks.output_kinds import OutputTask

pytestmark = pytest.mark.tensorflow

GENERATOR = np.random.default_rng(0)
TAUGHT, ANSWERED = (GENERATOR.normal(0, 4, (6, 3)).astype(np.float32) for _ in range(2))
WEIGHTS = np.array([0, 1, 2, 0.5, 3, 1], np.float32)
TEMPERATURE = 3.0


def output(kind="classification", coding="labels", activation="linear"):
    return OutputTask(name="y", kind=kind, shape=(3,), coding=coding, activation=activation)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def found(task, taught, answered, weights=None):
    (loss,) = answer_losses([task], TEMPERATURE)
    return float(loss(taught, answered, weights))


def divergence_of_classes(taught, answered):
    first, second = softmax(taught / TEMPERATURE), softmax(answered / TEMPERATURE)
    return TEMPERATURE**2 * (first * np.log(first / second)).sum(axis=-1)


def divergence_of_units(taught, answered):
    first, second = sigmoid(taught / TEMPERATURE), sigmoid(answered / TEMPERATURE)
    yes, no = first * np.log(first / second), (1 - first) * np.log((1 - first) / (1 - second))
    return TEMPERATURE**2 * (yes + no).mean(axis=-1)


CASES = {
    "logits of classes": (output(), lambda each: each, divergence_of_classes),
    "probabilities of classes": (output(activation="softmax"), softmax, divergence_of_classes),
    "logits of units": (output(coding="yes_no"), lambda each: each, divergence_of_units),
    "probabilities of units": (output(coding="yes_no", activation="sigmoid"), sigmoid, divergence_of_units),
    "numbers": (
        output(kind="regression", coding=""),
        lambda each: each,
        lambda taught, answered: ((taught - answered) ** 2).mean(axis=-1),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_output_is_compared_as_the_paper_says(case):
    task, shown, expected = CASES[case]
    rows = expected(TAUGHT.astype(np.float64), ANSWERED.astype(np.float64))
    assert found(task, shown(TAUGHT), shown(ANSWERED)) == pytest.approx(rows.mean(), rel=1e-4)
    assert found(task, shown(TAUGHT), shown(TAUGHT)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_sample_weights_multiply_the_loss_of_each_row(case):
    task, shown, expected = CASES[case]
    rows = expected(TAUGHT.astype(np.float64), ANSWERED.astype(np.float64))
    wanted = (rows * WEIGHTS).mean()
    assert found(task, shown(TAUGHT), shown(ANSWERED), WEIGHTS) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_teacher_that_is_certain_gives_finite_losses_and_gradients(activation):
    from paretune.objectives.keras_door import tf

    task = output(coding="labels" if activation == "softmax" else "yes_no", activation=activation)
    (loss,) = answer_losses([task], 1.0)
    answered = tf.Variable([[1.0, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        value = loss(np.array([[0.0, 1.0, 0.0]], np.float32), answered)
    assert np.isfinite(value.numpy())
    assert np.isfinite(tape.gradient(value, answered).numpy()).all()
