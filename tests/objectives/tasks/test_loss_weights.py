"""Weights of classes and rows in the training loss."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from paretune.objectives.data.dataset import Samples
from paretune.objectives.evaluator import build_evaluator
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.settings import EvaluatorSettings
from paretune.objectives.tasks.loss_weights import loss_weights
from paretune.objectives.tasks.output_kinds import OutputTask
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy
from tests.contracts.evaluator import candidate_of

pytestmark = pytest.mark.tensorflow

LABELS = np.array([0, 0, 0, 1, 1, 3], np.int32)


def output_of(coding: str, *shape: int, name: str = "out") -> OutputTask:
    return OutputTask(name=name, kind="classification" if coding else "regression", shape=shape, coding=coding)


def samples_of(targets: np.ndarray, weights: np.ndarray | None = None) -> Samples:
    return Samples((np.zeros((len(targets), 1), np.float32),), (targets,), weights)


@pytest.mark.parametrize(
    ("output", "targets"),
    [
        (output_of("labels", 5), LABELS),
        (output_of("labels", 5), LABELS.astype(np.float32)),
        (output_of("one_hot", 5), np.eye(5, dtype=np.float32)[LABELS]),
        (output_of("yes_no", 1), (LABELS[:, None] > 0).astype(np.int32)),
    ],
)
def test_balanced_is_what_scikit_learn_calls_balanced(output, targets):
    labels = LABELS > 0 if output.coding == "yes_no" else LABELS
    weights = loss_weights(samples_of(targets), [output], "balanced")
    np.testing.assert_allclose(weights, compute_sample_weight("balanced", labels), rtol=1e-6)
    assert weights.dtype == np.float32


def test_factors_by_label_multiply_into_the_weights_of_the_rows():
    own = np.arange(6, dtype=np.float32)
    weights = loss_weights(samples_of(LABELS, own), [output_of("labels", 5)], {1: 5.0, 3: 0.5})
    assert weights.tolist() == [0, 1, 2, 15, 20, 2.5]
    assert loss_weights(samples_of(LABELS, own), [output_of("labels", 5)], None).tolist() == own.tolist()
    assert loss_weights(samples_of(LABELS), [output_of("labels", 5)], None) is None


@pytest.mark.parametrize(
    ("outputs", "class_weights", "message"),
    [
        ([output_of("labels", 5)] * 2, "balanced", "one output that tells one class per row, got 2 outputs; leave"),
        ([output_of("", 1)], "balanced", "got regression (output 'out')"),
        ([output_of("yes_no", 3)], "balanced", "got several classes per row (output 'out')"),
        ([output_of("labels", 7, 5)], "balanced", "got several classes per row (output 'out')"),
        ([output_of("labels", 5)], {1: 2.0, 5: 2.0}, "`class_weights` must name labels 0..4, got 5."),
        ([output_of("labels", 5)], {0: 0.0, 1: 0.0, 3: 0.0}, "must leave some training row a weight above 0"),
    ],
)
def test_class_weights_that_cannot_be_are_refused_in_one_line(outputs, class_weights, message):
    with pytest.raises(ConfigurationError) as error:
        loss_weights(samples_of(LABELS), outputs, class_weights)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("axes", [(), (6,), (6, 6)])
def test_the_loss_of_a_row_counts_by_its_weight_whatever_axes_the_output_has(axes):
    """With as many columns as rows, Keras would not notice that it weighs the columns."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (6, *axes)).astype(np.int32)
    logits = rng.normal(size=(6, *axes, 3)).astype(np.float32)
    own = np.arange(6, dtype=np.float32)
    weights = loss_weights(samples_of(truth, own), [output_of("labels", *axes, 3)], None)
    inputs = keras.Input((*axes, 3))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def loss(*arrays: np.ndarray | None) -> float:
        return float(model.compute_loss(None, *(None if array is None else tf.constant(array) for array in arrays)))

    alone = [loss(truth[[row]], logits[[row]], None) for row in range(6)]
    assert loss(truth, logits, weights) == pytest.approx(np.mean(own * alone), rel=1e-5)


def test_weights_that_fit_no_common_shape_are_refused():
    outputs = [output_of("labels", 3), output_of("labels", 6, 6, 3)]
    with pytest.raises(ConfigurationError, match=r"as many axes, got \[1, 3\]; leave w_train out"):
        loss_weights(samples_of(LABELS, np.ones(6, np.float32)), outputs, None)


EXPERIMENT = """
import numpy as np
import tf_keras as keras

def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,), name="point")
    hidden = keras.layers.Dense(16, "relu", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(hidden), name="rare")

def data():
    generator = np.random.default_rng(0)
    labels = (np.arange(300) % 10 == 0).astype(np.int32)
    return generator.normal(labels[:, None] * 0.7, 1, (300, 2)), labels
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_class_weights_turn_the_training_to_the_rare_class(tmp_path: Path, engine):
    (tmp_path / "rare.py").write_text(EXPERIMENT)

    def evaluator(class_weights):
        return build_evaluator(
            EvaluatorSettings(
                model="rare:model",
                data="rare:data",
                beside=str(tmp_path),
                metric="f1_macro",
                class_weights=class_weights,
                engine=engine,
            )
        )

    plain, weighted = evaluator(None), evaluator({0: 1.0, 1: 20.0})
    candidate = candidate_of(plain, LayerPolicy(sparsity=0.5))
    results = [each.evaluate(candidate, Rung.FULL, Limit()) for each in (plain, weighted)]
    assert results[0].artifacts["model.tflite"] != results[1].artifacts["model.tflite"]
    assert results[0].training_steps == results[1].training_steps > 0
    assert "class_weights" not in plain.describe().fingerprint
    assert weighted.describe().fingerprint["class_weights"] == "{0: 1.0, 1: 20.0}"
