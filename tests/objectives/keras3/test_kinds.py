"""Kinds of models that real Keras 3 saves, in a process of its own: which open here, and which say why not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.objectives.loading.model_source import load_model
from paretune.spaces.errors import ModelRefused

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tensorflow,
    # Variables of Keras 3 predate the copy keyword of NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

OPEN = (
    "functional", "sequential", "nested", "many_inputs_and_outputs", "recurrent", "encoder_and_decoder", "separable",
    "residual", "preprocessing", "shared", "attention",
)  # fmt: skip
#: Rebuilt in float32; Keras 3 itself rounded what it computed.
ROUNDED = ("half_precision", "half_precision_weights")
REFUSED = {
    "quantized": "Layer 'squeezed' is quantized by Keras already",
    "text": "Layer 'reader' (TextVectorization) reads text",
    "lookup": "Layer 'table' (StringLookup) reads text",
    "with_lambda": "Layer 'own_code' runs code when the model is loaded.",
    "with_registered_lambda": "Layer 'own_code' runs code when the model is loaded.",
    "with_registered_layer": "Layer 'own_code' needs 'own>Doubled'",
    "with_registered_activation": "Layer 'own_code' needs the function 'own>doubled'",
}
ENDINGS = (".keras", ".h5")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of models; Keras 3 and tf_keras cannot both be the Keras of one process."""
    folder = tmp_path_factory.mktemp("zoo")
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", Path(__file__).with_name("zoo.py"), folder],
        env={**environment, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def numbered(arrays: Any, kind: str) -> list[Any]:
    return [arrays[f"{kind}{index}"] for index in range(sum(name.startswith(kind) for name in arrays))]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", [*OPEN, *ROUNDED])
def test_a_saved_model_opens_and_computes_what_keras_3_computed(zoo: Path, name: str, ending: str) -> None:
    model = load_model(f"{name}{ending}", beside=zoo, trust=False)
    arrays = np.load(zoo / f"{name}.npz")
    inputs, expected = numbered(arrays, "in"), numbered(arrays, "out")
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    got = outputs if isinstance(outputs, list | tuple) else [outputs]
    tolerance = 1e-2 if name in ROUNDED else 1e-5
    for theirs, ours in zip(expected, got, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1.0, float(np.abs(theirs).max())))
        assert np.ptp(theirs) > 1e-4  # the inputs matter
    assert {weights.dtype for weights in model.get_weights() if weights.dtype.kind == "f"} == {np.dtype("float32")}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("name", "told"), REFUSED.items())
def test_what_cannot_be_opened_is_refused_by_the_name_of_its_layer(
    zoo: Path, name: str, told: str, ending: str
) -> None:
    with pytest.raises(ModelRefused) as caught:
        load_model(f"{name}{ending}", beside=zoo, trust=False)
    assert str(caught.value).endswith(".")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
