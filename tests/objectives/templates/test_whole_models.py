"""What is patched into the file of a whole network is what a fresh conversion would have put there."""

import numpy as np
import pytest

from paretune.objectives.keras_door import keras
from paretune.objectives.measure.interpreter import TfliteRunner
from paretune.objectives.templates.conversion import convert, signature_names
from paretune.objectives.templates.template import build_template

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

#: Without the softmax, behind which all differences vanish.
NETWORKS = {
    "MobileNetV2": lambda: keras.applications.MobileNetV2((96, 96, 3), weights=None, classifier_activation=None),
    "ResNet50": lambda: keras.applications.ResNet50(weights=None, classifier_activation=None),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_patched_file_equals_a_fresh_conversion(name):
    model = NETWORKS[name]()
    template = build_template(model)
    assert template.unmatched == ()
    generator = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # its fresh variables are zeros and ones
            gamma, beta, mean, variance = (generator.uniform(-0.2, 0.2, layer.gamma.shape) for _ in range(4))
            layer.set_weights([1 + gamma, beta, mean, 1 + variance])
    names = signature_names(model)
    images = generator.uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
    patched, fresh = (
        TfliteRunner(file, names.inputs, names.outputs).predict([images])[0]
        for file in (template.fill(model), convert(model))
    )
    assert np.isfinite(fresh).all()
    assert np.abs(fresh).max() > 0.1
    assert np.abs(patched - fresh).max() <= 1e-6 * np.abs(fresh).max()
