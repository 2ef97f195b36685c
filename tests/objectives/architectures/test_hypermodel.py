"""What the user names as a model that is built for its hyperparameters, and building it."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from paretune.objectives.architectures.hypermodel import find_hypermodel
from paretune.objectives.loading.model_source import load_model
from paretune.spaces.errors import ConfigurationError, ModelRefused

pytestmark = [
    pytest.mark.tensorflow,
    # Variables of Keras 3 predate the copy keyword of NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

PLAIN = """
import tf_keras

def build(hp):
    model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(hp.Choice("units", [2, 4]))])
    model.compile("adam", "mse")
    return model

def build_3(hp, /, scale=1, **more):
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(hp.Int("units", 2, 4))])
    model.compile("adam", "mse")
    return model

def ready():
    return tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2)])

def with_defaults(width=2):
    return ready()

def two(hp, data):
    return build(hp)

def by_name(*, hp):
    return build(hp)

class Thing:
    def __init__(self, hp):
        pass

    def build(self, hp):
        return build(hp)

thing = Thing(None)
number = 3
"""

TUNED = """
import keras_tuner
import tf_keras

class Mine(keras_tuner.HyperModel):
    def build(self, hp):
        model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(hp.Choice("units", [2, 4]))])
        model.compile("adam", "mse")
        return model

class Sized(Mine):
    def __init__(self, size):
        super().__init__()

class Failing(Mine):
    def __init__(self):
        raise RuntimeError("no luck\\ntoday")

mine = Mine()
sized = Sized(3)
"""


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hypermodels")
    (folder / "plain.py").write_text(PLAIN)
    (folder / "tuned.py").write_text(TUNED)
    return folder


@pytest.mark.parametrize(
    "reference", ["plain:build", "plain:build_3", "plain:thing.build", "tuned:Mine", "tuned:mine", "tuned:sized"]
)
def test_functions_of_hyperparameters_and_hypermodels_are_recognised_and_build(beside, reference):
    hypermodel = find_hypermodel(reference, beside)
    assert hypermodel is not None
    hyperparameters, model = hypermodel.build({"units": 4}, seed=0)
    assert [each.name for each in hyperparameters.space] == ["units"]
    assert model.output_shape == (None, 4)


@pytest.mark.parametrize(
    "reference",
    [
        "plain:ready",
        "plain:with_defaults",
        "plain:two",
        "plain:by_name",
        "plain:Thing",
        "plain:Thing.build",
        "plain:number",
        "model.keras",
        "builtins:max",
    ],
)
def test_everything_else_names_one_model(beside, reference):
    assert find_hypermodel(reference, beside) is None


def test_a_function_without_arguments_gives_its_model_as_ever(beside):
    assert load_model("plain:ready", beside=beside, trust=False).output_shape == (None, 2)


def test_what_is_neither_is_refused_as_before(beside):
    with pytest.raises(ConfigurationError, match=r"must name a function, but 'number' in .*plain\.py is of type int"):
        load_model("plain:number", beside=beside, trust=False)
    with pytest.raises(ModelRefused, match=r"without arguments, or with hyperparameters alone \(missing a required"):
        load_model("plain:two", beside=beside, trust=False)
    with pytest.raises(ConfigurationError, match=r"Did you mean 'build'\?"):
        find_hypermodel("plain:buildd", beside)


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("tuned:Sized", "Model 'tuned:Sized': the class, called without arguments, raised TypeError"),
        ("tuned:Failing", "raised RuntimeError: no luck"),
    ],
)
def test_a_class_that_cannot_be_made_without_arguments_is_refused_in_one_line(beside, reference, told):
    with pytest.raises(ModelRefused) as caught:
        find_hypermodel(reference, beside)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_looking_at_a_function_does_not_import_keras_tuner(beside):
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from paretune.objectives.architectures.hypermodel import find_hypermodel
        assert find_hypermodel("plain:build", Path(sys.argv[1])) is not None
        assert "keras_tuner" not in sys.modules, "imported"
        """
    )
    done = subprocess.run([sys.executable, "-c", code, str(beside)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("reference", ["plain:build", "plain:build_3"])
def test_names_and_weights_are_the_same_whatever_was_built_before(beside, reference):
    hypermodel = find_hypermodel(reference, beside)
    assert hypermodel is not None
    _, first = hypermodel.build({"units": 4}, seed=1)
    hypermodel.build({"units": 2}, seed=2)
    find_hypermodel("plain:build", beside).build({}, seed=0)
    _, again = hypermodel.build({"units": 4}, seed=1)
    assert [layer.name for layer in again.layers] == [layer.name for layer in first.layers]
    assert first.layers[-1].name == "dense"
    np.testing.assert_array_equal(again.get_weights()[0], first.get_weights()[0])
    _, other = hypermodel.build({"units": 4}, seed=2)
    assert (other.get_weights()[0] != first.get_weights()[0]).any()
