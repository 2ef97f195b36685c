"""Loading models from every source, with files written by tf_keras and by hand."""

import shutil
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from paretune.objectives.keras_door import keras, tf
from paretune.objectives.loading.model_source import load_model, model_digest
from paretune.spaces.errors import ConfigurationError, ModelRefused

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
    # Variables of Keras 3 predate the copy keyword of NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


def small_model(**dtype: str) -> Any:
    keras.utils.set_random_seed(1)
    given = keras.Input((6, 6, 1), name="image")
    x = keras.layers.Conv2D(4, 3, **dtype)(given) * 2.0 + 1.0
    x = tf.nn.relu(keras.layers.BatchNormalization(**dtype)(x))
    x = keras.layers.Bidirectional(keras.layers.LSTM(3, **dtype), name="reader")(keras.layers.Reshape((-1, 4))(x))
    return keras.Model(given, keras.layers.Dense(2, name="out")(x), name="small")


def outputs(model: Any) -> Any:
    return np.asarray(model(np.random.default_rng(0).random((2, 6, 6, 1), np.float32), training=False))


def refused(reference: str, beside: Path, *, trust: bool = False) -> str:
    with pytest.raises(ModelRefused) as caught:
        load_model(reference, beside=beside, trust=trust)
    assert "\n" not in str(caught.value)
    assert reference in str(caught.value)
    return str(caught.value)


def unheard_of_loss(truth: Any, guess: Any) -> Any:
    return guess - truth


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model in every format of tf_keras."""
    folder = tmp_path_factory.mktemp("saved")
    model = small_model()
    model.compile("adam", unheard_of_loss)
    for name in ("m.keras", "m.h5"):
        model.save(folder / name)
    model.compile("adam", "mse")
    model.save(folder / "folder")
    return folder


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "folder"])
def test_every_format_of_tf_keras_is_read(saved: Path, name: str) -> None:
    loaded = load_model(name, beside=saved, trust=False)
    np.testing.assert_allclose(outputs(loaded), outputs(small_model()), atol=1e-6)
    assert [layer.name for layer in loaded.layers][-1] == "out"


def test_a_full_path_is_taken_as_it_is(saved: Path, tmp_path: Path) -> None:
    assert load_model(str(saved / "m.keras"), beside=tmp_path, trust=False).name == "small"


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_other_float_formats_become_float32(tmp_path: Path, policy: str) -> None:
    narrow = small_model(dtype=policy)
    narrow.save(tmp_path / "m.keras")
    loaded = load_model("m.keras", beside=tmp_path, trust=False)
    assert {weights.dtype.name for weights in loaded.weights} == {"float32"}
    assert {layer.dtype_policy.name for layer in loaded._flatten_layers()} == {"float32"}
    np.testing.assert_allclose(outputs(loaded), outputs(narrow), atol=2e-3)


class Writer:
    """Makes models whose Lambda writes a file whenever it runs."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "ran"

    def model(self) -> Any:
        given = keras.Input((2,))
        path = str(self.marker)
        trap = keras.layers.Lambda(lambda x, path=path: (open(path, "w").close(), x)[1], name="trap")  # noqa: PTH123
        return keras.Model(given, keras.layers.Dense(1)(trap(given)))


@pytest.mark.parametrize("name", ["trap.h5", "trap.keras", "trap"])
def test_code_in_a_lambda_does_not_run_unless_trusted(tmp_path: Path, name: str) -> None:
    writer = Writer(tmp_path)
    writer.model().save(tmp_path / name)
    writer.marker.unlink()
    told = refused(name, tmp_path)
    assert (
        "Layer 'trap' runs code when the model is loaded. Pass --trust-model (trust_model=True) if you wrote this file."
        in told
    )
    assert not writer.marker.exists()
    assert load_model(name, beside=tmp_path, trust=True).get_layer("trap") is not None
    assert writer.marker.exists()


def test_custom_layer_is_refused_and_named(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("mine")
    class Own(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs

    given = keras.Input((2,))
    keras.Model(given, Own(name="own")(given)).save(tmp_path / "m.keras")
    assert "Layer 'own' needs 'mine>Own'" in refused("m.keras", tmp_path)


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


@pytest.mark.parametrize("name", ["m.keras", "folder"])
def test_subclassed_models_are_refused(tmp_path: Path, name: str) -> None:
    model = Subclassed()
    model(np.zeros((1, 3), np.float32))
    model.save(tmp_path / name)
    assert "is a subclassed model ('Subclassed')" in refused(name, tmp_path)


def test_a_saved_model_without_keras_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.weight = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "plain"))
    assert "SavedModel without Keras layers" in refused("plain", tmp_path)


def damaged_metadata(folder: Path) -> str:
    (folder / "folder" / "keras_metadata.pb").write_bytes(b"\xff\xff\xff")
    return "folder"


def without_variables(folder: Path) -> str:
    shutil.rmtree(folder / "folder" / "variables")
    return "folder"


def cut(name: str) -> Callable[[Path], str]:
    def cutting(folder: Path) -> str:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        return name

    return cutting


def corrupted_member(folder: Path) -> str:
    content = bytearray((folder / "m.keras").read_bytes())
    with zipfile.ZipFile(folder / "m.keras") as archive:
        start = archive.getinfo("model.weights.h5").header_offset
    content[start + 200] ^= 0xFF
    (folder / "m.keras").write_bytes(content)
    return "m.keras"


def renamed(old: str, new: str) -> Callable[[Path], str]:
    def renaming(folder: Path) -> str:
        (folder / old).rename(folder / new)
        return new

    return renaming


def weights_only(folder: Path) -> str:
    with h5py.File(folder / "weights.h5", "w") as file:
        file["d/kernel"] = np.ones(3)
    return "weights.h5"


def other_weights(folder: Path) -> str:
    with h5py.File(folder / "m.h5", "r+") as file:
        group = file["model_weights/out/out"]
        del group["kernel:0"]
        group["kernel:0"] = np.ones((1, 1), np.float32)
    return "m.h5"


def incomplete(folder: Path) -> str:
    with zipfile.ZipFile(folder / "some.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    return "some.keras"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: "no.keras", "does not exist"),
        (lambda folder: ".", "is a folder without `saved_model.pb`"),
        (cut("m.keras"), "must be a zip archive and is none or is cut short"),
        (cut("m.h5"), "must be an HDF5 file and is none or is cut short"),
        (corrupted_member, "is damaged"),
        (damaged_metadata, "`keras_metadata.pb` is damaged"),
        (without_variables, "the SavedModel is incomplete"),
        (renamed("m.keras", "m2.h5"), "is a zip archive: rename it to `.keras`"),
        (renamed("m.h5", "m2.keras"), "It is an HDF5 file: rename it to `.h5`"),
        (renamed("m.h5", "m.bin"), "must end in `.keras` or `.h5`"),
        (weights_only, "holds weights without a model"),
        (other_weights, "tf_keras cannot read it: ValueError"),
        (incomplete, "has no `config.json` or no `metadata.json`"),
    ],
)
def test_damaged_and_other_files_are_refused_in_one_line(
    saved: Path, tmp_path: Path, damage: Callable[[Path], str], told: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    assert told in refused(damage(folder), folder)


SOURCES = textwrap.dedent(
    """
    import tf_keras
    import keras

    def two():
        given = tf_keras.Input((3,))
        return tf_keras.Model(given, tf_keras.layers.Dense(2)(given))

    def three():
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="three")])

    class Own(tf_keras.Model):
        pass

    def around():
        given = tf_keras.Input((3,))
        return Own(given, tf_keras.layers.Dense(2)(given), name="around")

    class Free(tf_keras.Model):
        pass

    def subclassed():
        return Free()

    class Stubborn(tf_keras.layers.Layer):
        def __init__(self, scale, offset):
            super().__init__()

    def stubborn():
        given = tf_keras.Input((3,))
        return tf_keras.Model(given, Stubborn(object(), 3)(given))

    def unbuilt():
        return tf_keras.Sequential([tf_keras.layers.Dense(2)])

    def number():
        return 3

    def failing():
        raise RuntimeError("no weights\\nhere")

    def greedy(path):
        return path
    """
)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    (folder / "sources.py").write_text(SOURCES)
    return folder


@pytest.mark.parametrize("function", ["two", "three", "around"])
def test_functions_may_return_models_of_either_keras(beside: Path, function: str) -> None:
    loaded = load_model(f"sources:{function}", beside=beside, trust=False)
    assert isinstance(loaded, keras.Model)
    assert type(loaded).__name__ in ("Functional", "Sequential")
    assert loaded.output_shape == (None, 2)


@pytest.mark.parametrize("function", ["two", "three"])
def test_untrained_weights_of_a_function_repeat(beside: Path, function: str) -> None:
    first, second = (load_model(f"sources:{function}", beside=beside, trust=False).get_weights()[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("subclassed", "is a subclassed model (Free)"),
        ("stubborn", "has a layer without get_config()"),
        ("unbuilt", "has no inputs of known shape"),
        ("number", "must be a Keras model, got int"),
        ("failing", "the function raised RuntimeError: no weights"),
        ("greedy", "must be callable without arguments"),
    ],
)
def test_functions_without_a_usable_model_are_refused(beside: Path, function: str, told: str) -> None:
    assert told in refused(f"sources:{function}", beside)


def test_missing_function_is_an_error_of_the_configuration(beside: Path) -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'two'"):
        load_model("sources:twoo", beside=beside, trust=False)


def test_digest_follows_the_content(saved: Path, beside: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    copy = tmp_path / "copy"
    for name in ("m.keras", "m.h5", "folder"):
        assert model_digest(name, copy) == model_digest(name, saved)
    for name, part in (("m.keras", "m.keras"), ("folder", "folder/saved_model.pb")):
        with (copy / part).open("ab") as file:
            file.write(b"x")
        assert model_digest(name, copy) != model_digest(name, saved)
    assert model_digest("sources:two", beside) == model_digest("sources:three", beside)
    with pytest.raises(ModelRefused, match="does not exist"):
        model_digest("none.keras", saved)
