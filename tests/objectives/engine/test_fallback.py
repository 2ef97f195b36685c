"""What the compiled stages cannot repeat is trained with tfmot's own flow, and says so."""

import contextlib

import pytest

from paretune.objectives.keras_door import keras, tf
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.stage_running import EngineOrReference
from paretune.spaces.policies.policy import LayerPolicy
from tests.objectives.engine.small_models import noise_for, policy, require_same, run, task

pytestmark = pytest.mark.tensorflow


class Jitter(keras.layers.Layer):
    """Draws from a kernel with a state that no variable holds."""

    def call(self, inputs, training=None):
        return inputs + 0.1 * tf.random.normal(tf.shape(inputs)) if training else inputs


def test_a_layer_that_draws_from_a_hidden_state_falls_back_visibly_and_still_repeats(capsys):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(Jitter(name="jitter")(inputs)))
    runner = EngineOrReference(model, noise_for(model), contextlib.nullcontext, engine="compiled")
    assert runner.fallback == ""
    asked = task("prune", policy(head=LayerPolicy(sparsity=0.5)), steps=3)
    first = run(runner, asked, read_weights(model))
    assert "RandomStandardNormal" in runner.fallback
    assert runner.fallback in capsys.readouterr().err
    run(runner, task("prune", policy(head=LayerPolicy(sparsity=0.2)), seed=9, steps=4), read_weights(model))
    require_same(run(runner, asked, read_weights(model)), first)
