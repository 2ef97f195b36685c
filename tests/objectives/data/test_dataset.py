import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paretune.objectives.data.dataset import Dataset, assemble, dataset_digest, load_dataset
from paretune.objectives.data.fit_arrays import fit_inputs, fit_targets
from paretune.objectives.data.image_folder import read_image_folder
from paretune.objectives.data.raw_data import RawData, raw_from_npz, raw_from_result
from paretune.objectives.data.signature import Port, Signature
from paretune.objectives.data.splits import held_out_rows
from paretune.spaces.errors import DataError

IMAGES = Signature(inputs=(Port(name="image", shape=(8, 8, 1)),), outputs=(Port(name="logits", shape=(3,)),))
TWO_INPUTS = Signature(
    inputs=(Port(name="left", shape=(2,)), Port(name="right", shape=(3,))), outputs=(Port(name="sum", shape=(1,)),)
)


def images(rows: int) -> np.ndarray:
    return np.random.default_rng(0).random((rows, 8, 8, 1))


def labels(rows: int) -> np.ndarray:
    return np.arange(rows) % 3


def of_images(x: np.ndarray, y: np.ndarray, **splits: tuple[np.ndarray, np.ndarray]) -> Dataset:
    return assemble(RawData(parts={"train": (x, y), **splits}), IMAGES, seed=0)


def test_missing_splits_are_cut_from_the_training_rows_without_overlap_and_in_proportion_to_the_classes():
    x = images(200)
    y = np.array([0] * 100 + [1] * 80 + [2] * 20)
    dataset = of_images(x, y)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (140, 30, 30)
    seen = np.concatenate([samples.inputs[0][:, 0, 0, 0] for samples in dataset.splits().values()])
    assert sorted(seen) == sorted(x[:, 0, 0, 0].astype(np.float32))
    assert [int((dataset.test.targets[0] == label).sum()) for label in range(3)] == [15, 12, 3]
    assert dataset.notes == (
        "30 of 200 training rows (15%) were split off as test data, in proportion to the classes (seed 0).",
        "30 of 200 training rows (15%) were split off as val data, in proportion to the classes (seed 0).",
    )


def test_the_split_depends_on_the_seed_alone():
    raw = RawData(parts={"train": (images(60), labels(60))})
    digests = [dataset_digest(assemble(raw, IMAGES, seed=seed)) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_given_splits_are_left_as_they_are():
    held_out = (images(5), labels(5))
    dataset = of_images(images(20), labels(20), val=held_out, test=held_out)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (20, 5, 5)
    assert dataset.notes == ()


def test_held_out_rows_are_distinct_even_for_classes_of_one_row():
    rows = held_out_rows(10, np.arange(10), 0.5, seed=3)
    assert len(set(rows.tolist())) == 5


def test_the_digest_sees_a_single_changed_value():
    x = images(30)
    before = dataset_digest(of_images(x, labels(30)))
    x[4, 3, 2, 0] += 1e-3
    assert dataset_digest(of_images(x, labels(30))) != before


def test_labels_become_int32_and_numbers_float32_in_the_shapes_that_losses_expect():
    dataset = of_images(images(30), labels(30)[:, None])
    assert dataset.train.inputs[0].dtype == np.float32
    assert (dataset.train.targets[0].dtype, dataset.train.targets[0].ndim) == (np.int32, 1)
    (column,) = fit_targets("y_train", np.arange(4.0), (Port(name="price", shape=(1,)),))
    assert (column.shape, column.dtype) == ((4, 1), np.float32)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((9, 8, 8)), "Input 'image' takes shape (rows, 8, 8, 1), got (9, 8, 8) (x_train). The last axis is"),
        (np.zeros((9, 1, 8, 8)), "The channels come first: move them to the end with numpy.moveaxis(x, 1, -1)."),
        (np.zeros((9, 8, 8, 1, 1)), "There is one axis too many"),
        (np.zeros((9, 64)), "The numbers per row agree: reshape the rows."),
        (np.zeros((9, 28, 28, 1)), "got (9, 28, 28, 1) (x_train)."),
        (np.full((9, 8, 8, 1), np.nan), "x_train must hold finite numbers, got NaN or infinity (row 0)"),
        (np.full((9, 8, 8, 1), 1e300), "x_train holds numbers beyond the range of float32"),
        (np.full((9, 8, 8, 1), "a"), "x_train must hold numbers, got str"),
        ([[1, 2], [3]], "x_train must be an array of numbers; its rows differ in length."),
        (np.zeros((0, 8, 8, 1)), "x_train is empty"),
        (np.zeros((8, 8, 8, 1)), "x_train has 8 rows, y_train has 9;"),
        ([np.zeros((9, 8, 8, 1))] * 2, "x_train holds 2 arrays, but the model has 1 input (image)."),
        (np.float32(3), "got ()"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_one_line(x, message):
    with pytest.raises(DataError) as error:
        of_images(x, labels(9))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_few_rows_to_split_are_refused():
    with pytest.raises(DataError, match="x_train has 4 rows, too few to split off test and val data"):
        of_images(images(4), labels(4))


def test_several_inputs_come_by_name_or_in_order():
    left, right, y = np.zeros((9, 2)), np.ones((9, 3)), np.arange(9.0)
    by_name = assemble(RawData(parts={"train": ({"right": right, "left": left}, y)}), TWO_INPUTS, seed=0)
    in_order = assemble(RawData(parts={"train": ([left, right], y)}), TWO_INPUTS, seed=0)
    assert [x.shape[1] for x in by_name.train.inputs] == [2, 3]
    assert dataset_digest(by_name) == dataset_digest(in_order)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((9, 2)), "x_train is one array, but the model has 2 inputs (left, right)"),
        ([np.zeros((9, 2))], "x_train holds 1 arrays, but the model has 2 inputs"),
        ({"left": np.zeros((9, 2))}, "x_train lacks 'right'"),
        ({"left": np.zeros((9, 2)), "rihgt": np.zeros((9, 3))}, "Did you mean 'right'?"),
        ([np.zeros((9, 2)), np.zeros((8, 3))], "x_train has 9 rows, x_train 'right' has 8;"),
    ],
)
def test_a_wrong_set_of_inputs_is_refused(x, message):
    with pytest.raises(DataError) as error:
        assemble(RawData(parts={"train": (x, np.arange(9.0))}), TWO_INPUTS, seed=0)
    assert message in str(error.value)


def test_indices_beyond_the_embedding_are_refused_with_their_place():
    port = Port(name="words", shape=(None,), is_integer=True, index_limit=100)
    (words,) = fit_inputs("x_train", np.array([[1, 99], [0, 5]]), (port,))
    assert words.dtype == np.int32
    with pytest.raises(DataError, match=r"indices 0..99 for the model's Embedding, got 100 \(row 1\)"):
        fit_inputs("x_train", np.array([[1, 2], [3, 100]]), (port,))
    with pytest.raises(DataError, match=r"whole numbers.*row 0"):
        fit_inputs("x_train", np.array([[0.5, 2.0]]), (port,))


def test_npz_arrays_are_sorted_into_splits_inputs_and_outputs(tmp_path: Path):
    np.savez(
        tmp_path / "data.npz",
        x_train_left=np.zeros((9, 2)),
        x_train_right=np.zeros((9, 3)),
        y_train=np.zeros(9),
        x_validation_0=np.zeros((4, 2)),
        x_validation_1=np.zeros((4, 3)),
        y_validation=np.zeros(4),
    )
    dataset = assemble(raw_from_npz(tmp_path / "data.npz"), TWO_INPUTS, seed=0)
    assert [x.shape for x in dataset.validation.inputs] == [(4, 2), (4, 3)]
    assert len(dataset.test) == 1


def test_a_misnamed_array_is_answered_with_the_nearest_name(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros(3), Y_train=np.zeros(3))
    with pytest.raises(DataError, match=r"holds 'Y_train'.*Did you mean 'y_train'\?"):
        raw_from_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x_train=np.zeros(3))
    with pytest.raises(DataError, match=r"b\.npz lacks y_train; it has x_train\."):
        raw_from_npz(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x_train=np.zeros(3), x_train_left=np.zeros(3), y_train=np.zeros(3))
    with pytest.raises(DataError, match="holds both x_train and x_train_left"):
        raw_from_npz(tmp_path / "c.npz")


def test_files_that_are_no_npz_of_numbers_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="does not exist"):
        raw_from_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("x_train,y_train\n")
    with pytest.raises(DataError, match=r"no readable \.npz file"):
        raw_from_npz(tmp_path / "text.npz")
    np.savez(tmp_path / "whole.npz", x_train=np.zeros(1000))
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:2000])
    with pytest.raises(DataError, match=r"no readable \.npz file"):
        raw_from_npz(tmp_path / "half.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(DataError, match="holds a single array"):
        raw_from_npz(tmp_path / "single.npy")


def test_pickled_arrays_are_never_loaded(tmp_path: Path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.savez(tmp_path / "evil.npz", x_train=np.array([Payload()], dtype=object), y_train=np.zeros(1))
    with pytest.raises(DataError, match="holds pickled Python objects"):
        raw_from_npz(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


def test_a_data_function_may_return_a_mapping_a_pair_or_tuples_of_pairs():
    x, y = images(20), labels(20)
    assert set(raw_from_result({"x_train": x, "y_train": y, "class_names": ["a"]}, "m:f").parts) == {"train"}
    assert set(raw_from_result((x, y), "m:f").parts) == {"train"}
    assert set(raw_from_result(((x, y), (x, y)), "m:f").parts) == {"train", "test"}
    assert set(raw_from_result(((x, y), (x, y), (x, y)), "m:f").parts) == {"train", "val", "test"}
    with pytest.raises(DataError, match=r"'m:f' must return .*; got a tuple of length 1\."):
        raw_from_result((x,), "m:f")


def save_image(path: Path, value: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def test_an_image_folder_gives_resized_scaled_images_and_labels_by_class(tmp_path: Path):
    save_image(tmp_path / "cat/1.png", 255, size=(16, 12))
    save_image(tmp_path / "dog/2.png", 51)
    raw = read_image_folder(tmp_path, IMAGES)
    x, y = raw.parts["train"]
    assert x.shape == (2, 8, 8, 1)
    assert x[:, 0, 0, 0].tolist() == pytest.approx([1.0, 0.2])
    assert (y.tolist(), raw.class_names) == ([0, 1], ("cat", "dog"))
    assert raw.notes == (
        "Pixel values were divided by 255, because the model does not begin with Rescaling or Normalization.",
    )


def test_pixels_stay_as_they_are_for_a_model_that_scales_them_itself(tmp_path: Path):
    save_image(tmp_path / "cat/1.png", 255)
    signature = Signature(inputs=IMAGES.inputs, outputs=IMAGES.outputs, scales_inputs=True)
    assert read_image_folder(tmp_path, signature).parts["train"][0].max() == 255


def test_image_splits_come_from_their_folders_and_share_the_classes(tmp_path: Path):
    for split, rows in (("train", 3), ("validation", 2), ("test", 1)):
        for row in range(rows):
            save_image(tmp_path / split / "cat" / f"{row}.png", row)
    parts = read_image_folder(tmp_path, IMAGES).parts
    assert {split: len(x) for split, (x, _) in parts.items()} == {"train": 3, "val": 2, "test": 1}
    save_image(tmp_path / "test/dgo/1.png", 0)
    with pytest.raises(DataError, match="has the class 'dgo', which the training images lack"):
        read_image_folder(tmp_path, IMAGES)


def test_image_folders_that_cannot_be_used_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="needs a sub-folder of images per class"):
        read_image_folder(tmp_path, IMAGES)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        read_image_folder(tmp_path, IMAGES)
    (tmp_path / "cat/broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        read_image_folder(tmp_path, IMAGES)
    with pytest.raises(DataError, match="An image folder needs a model with one input"):
        read_image_folder(tmp_path, TWO_INPUTS)


@pytest.fixture(scope="module")
def keras():
    from paretune.objectives.keras_door import keras

    return keras


@pytest.mark.tensorflow
def test_references_are_resolved_beside_the_experiment_file(tmp_path: Path, keras):
    model = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    np.savez(tmp_path / "data.npz", x=images(30), y=labels(30))
    (tmp_path / "my_data.py").write_text(
        "import numpy as np\n"
        "def arrays():\n    return np.ones((30, 8, 8, 1)), np.arange(30) % 3\n"
        "def broken():\n    raise KeyError('row')\n"
    )
    save_image(tmp_path / "pictures/cat/1.png", 0)
    assert len(load_dataset("data.npz", beside=tmp_path, model=model, seed=0).test) == 4
    assert load_dataset("my_data:arrays", beside=tmp_path, model=model, seed=0).test.inputs[0].min() == 1
    with pytest.raises(DataError, match="Data function 'my_data:broken' failed: KeyError: 'row'"):
        load_dataset("my_data:broken", beside=tmp_path, model=model, seed=0)
    with pytest.raises(DataError, match="too few"):
        load_dataset("pictures", beside=tmp_path, model=model, seed=0)
    with pytest.raises(DataError, match=r"got 'nothing'.*does not exist"):
        load_dataset("nothing", beside=tmp_path, model=model, seed=0)


@pytest.mark.tensorflow
def test_the_signature_knows_embeddings_and_scaling_inside_nested_models(keras):
    from paretune.objectives.data.signature import signature_of

    words = keras.Input((None,), dtype="int32", name="words")
    pixels = keras.Input((4, 4, 1), name="pixels")
    reader = keras.Sequential([keras.layers.Embedding(50, 4), keras.layers.GlobalAveragePooling1D()])
    seen = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    both = keras.layers.Concatenate()([reader(words), seen])
    signature = signature_of(keras.Model([words, pixels], keras.layers.Dense(2, name="both")(both)))
    assert signature.inputs == (
        Port(name="words", shape=(None,), is_integer=True, index_limit=50),
        Port(name="pixels", shape=(4, 4, 1)),
    )
    assert signature.outputs == (Port(name="both", shape=(2,)),)
    begins_with_it = keras.Sequential([keras.layers.Input((3,)), keras.Sequential([keras.layers.Normalization()])])
    assert signature_of(begins_with_it).scales_inputs
    plain = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2), keras.layers.Rescaling(2.0)])
    assert not signature_of(plain).scales_inputs


@pytest.mark.tensorflow
def test_a_keras_data_set_is_read_from_the_cache_in_the_shape_the_model_takes(tmp_path: Path, keras, monkeypatch):
    monkeypatch.setattr(keras.utils, "get_file", None)
    monkeypatch.setattr(
        keras.datasets.mnist,
        "load_data",
        lambda: ((np.full((9, 8, 8), 255, np.uint8), np.arange(9) % 3), (np.zeros((3, 8, 8), np.uint8), np.arange(3))),
    )
    model = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    dataset = load_dataset("keras:mnist", beside=tmp_path, model=model, seed=0)
    assert dataset.train.inputs[0].shape[1:] == (8, 8, 1)
    assert (dataset.train.inputs[0].max(), len(dataset.test)) == (1.0, 3)
    with pytest.raises(DataError, match=r"Unknown Keras data set 'minst'.*Did you mean 'mnist'\?"):
        load_dataset("keras:minst", beside=tmp_path, model=model, seed=0)
