"""The loss that guides the search is the one that Keras would compute, in finite numbers whatever a file gives."""

import math

import numpy as np
import pytest

from paretune.objectives.keras_door import keras
from paretune.objectives.tasks.output_kinds import OutputTask
from paretune.objectives.tasks.prediction_loss import LEAST_PROBABILITY, prediction_loss

pytestmark = pytest.mark.tensorflow

ROWS, CLASSES = 40, 5
ACTIVATIONS = ("linear", "softmax", "sigmoid")


def draws(seed: int = 0):
    return np.random.default_rng(seed)


def output_of(activation, *shape):
    """Return logits that are not extreme, or what an activation makes of them."""
    logits = draws().normal(0, 0.8, shape).astype(np.float32)
    if activation == "softmax":
        return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return 1 / (1 + np.exp(-logits)) if activation == "sigmoid" else logits


def task_of(kind="classification", coding="", activation="linear", shape=(CLASSES,)):
    return OutputTask(name="out", kind=kind, shape=shape, coding=coding, activation=activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("steps", [(), (3,)])
def test_labels_cost_their_cross_entropy(activation, steps):
    output = output_of(activation, ROWS, *steps, CLASSES)
    labels = draws(1).integers(0, CLASSES, (ROWS, *steps))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation == "linear")
    task = task_of(coding="labels", activation=activation, shape=(*steps, CLASSES))
    assert prediction_loss([task], [labels], [output]) == pytest.approx(float(loss(labels, output)), rel=1e-4)


@pytest.mark.parametrize("activation", ["linear", "softmax"])
@pytest.mark.parametrize("soft", [False, True])
def test_distributions_cost_their_cross_entropy(activation, soft):
    output = output_of(activation, ROWS, CLASSES)
    labels = (
        draws(1).dirichlet(np.ones(CLASSES), ROWS) if soft else np.eye(CLASSES)[draws(1).integers(0, CLASSES, ROWS)]
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=activation == "linear")
    task = task_of(coding="one_hot", activation=activation)
    assert prediction_loss([task], [labels], [output]) == pytest.approx(float(loss(labels, output)), rel=1e-4)


@pytest.mark.parametrize("coding", ["yes_no", "one_hot"])
@pytest.mark.parametrize("units", [1, CLASSES])
def test_units_that_say_yes_or_no_on_their_own_cost_binary_cross_entropy(coding, units):
    output = output_of("sigmoid", ROWS, units)
    truth = draws(1).integers(0, 2, (ROWS, units))
    task = task_of(coding=coding, activation="sigmoid", shape=(units,))
    loss = keras.losses.BinaryCrossentropy()
    assert prediction_loss([task], [truth], [output]) == pytest.approx(float(loss(truth, output)), rel=1e-4)


def test_logits_of_yes_and_no_cost_the_same_as_their_probabilities():
    logits = output_of("linear", ROWS, 1)
    truth = draws(1).integers(0, 2, (ROWS, 1))
    costs = [
        prediction_loss([task_of(coding="yes_no", activation=activation, shape=(1,))], [truth], [output])
        for activation, output in (("linear", logits), ("sigmoid", 1 / (1 + np.exp(-logits))))
    ]
    assert costs[0] == pytest.approx(costs[1], rel=1e-5)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    assert costs[0] == pytest.approx(float(loss(truth, logits)), rel=1e-4)


def test_numbers_cost_their_mean_squared_error():
    output, truth = output_of("linear", ROWS, 2), draws(1).normal(size=(ROWS, 2))
    task = task_of(kind="regression", shape=(2,))
    loss = keras.losses.MeanSquaredError()
    assert prediction_loss([task], [truth], [output]) == pytest.approx(float(loss(truth, output)), rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "coding", "shape", "flat"),
    [
        ("regression", "", (1,), draws(1).normal(size=ROWS)),
        ("classification", "yes_no", (1,), draws(1).integers(0, 2, ROWS)),
        ("classification", "labels", (CLASSES,), draws(1).integers(0, CLASSES, ROWS)),
    ],
)
def test_targets_may_come_with_or_without_a_last_axis_of_one(kind, coding, shape, flat):
    task, output = task_of(kind=kind, coding=coding, shape=shape), output_of("linear", ROWS, *shape)
    costs = [prediction_loss([task], [truth], [output]) for truth in (flat, flat[:, None])]
    assert costs[0] == costs[1]
    # not every row against every other
    assert costs[0] == pytest.approx(
        np.mean([prediction_loss([task], [flat[[row]]], [output[[row]]]) for row in range(ROWS)])
    )


def test_several_outputs_count_alike():
    numbers, classes = task_of(kind="regression", shape=(1,)), task_of(coding="labels")
    outputs = [output_of("linear", ROWS, 1), output_of("linear", ROWS, CLASSES)]
    targets = [draws(1).normal(size=(ROWS, 1)), draws(1).integers(0, CLASSES, ROWS)]
    alone = [prediction_loss([numbers], targets[:1], outputs[:1]), prediction_loss([classes], targets[1:], outputs[1:])]
    assert prediction_loss([numbers, classes], targets, outputs) == pytest.approx(np.mean(alone))


@pytest.mark.parametrize(
    ("coding", "activation", "output", "truth"),
    [
        ("labels", "softmax", [[1.0, 0.0]], [1]),
        ("labels", "linear", [[900.0, -900.0]], [1]),
        ("one_hot", "softmax", [[1.0, 0.0]], [[0, 1]]),
        ("one_hot", "linear", [[900.0, -900.0]], [[0, 1]]),
        ("yes_no", "sigmoid", [[0.0, 0.0]], [[1, 1]]),
        ("yes_no", "linear", [[-900.0, 900.0]], [[1, 0]]),
    ],
)
def test_a_probability_of_zero_costs_no_more_than_a_rounded_one_can_prove(coding, activation, output, truth):
    task = task_of(coding=coding, activation=activation, shape=(2,))
    cost = prediction_loss([task], [np.array(truth)], [np.array(output, np.float32)])
    assert cost == pytest.approx(-math.log(LEAST_PROBABILITY))


def test_one_label_among_units_that_are_all_sure_it_is_not_theirs_is_still_a_number():
    task = task_of(coding="labels", activation="sigmoid")
    cost = prediction_loss([task], [np.array([2])], [np.zeros((1, CLASSES), np.float32)])
    assert cost == pytest.approx(math.log(CLASSES))


def test_what_is_sure_and_right_costs_nothing():
    task = task_of(coding="labels", activation="softmax", shape=(2,))
    assert prediction_loss([task], [np.array([0])], [np.array([[1.0, 0.0]], np.float32)]) == 0.0


def test_the_loss_moves_before_the_first_label_flips():
    task = task_of(coding="labels", activation="softmax", shape=(2,))
    sure, unsure = (np.array([[share, 1 - share]], np.float32) for share in (0.9, 0.6))
    assert prediction_loss([task], [np.array([0])], [unsure]) > prediction_loss([task], [np.array([0])], [sure])
