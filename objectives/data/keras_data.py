"""The data sets that Keras knows by name, from its local cache or the network."""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.image_folder import scaling_note
from paretune.objectives.data.raw_data import RawData
from paretune.objectives.data.signature import Signature
from paretune.objectives.keras_door import keras
from paretune.spaces.errors import DataError
from paretune.spaces.suggest import nearest

#: How long a server may stay silent before the network counts as absent.
_NETWORK_TIMEOUT_S = 10.0

#: Words kept of a text where the model takes any length.
_TEXT_LENGTH = 256

Pair = tuple[NDArray[Any], NDArray[Any]]


def read_keras_data(name: str, signature: Signature) -> RawData:
    """Read a Keras data set in the form the model takes.

    Images get a channel axis where the model's input has one, and become 0..1 unless the model begins with layers that
    scale them. Texts are cut or padded to the input's length, with words the Embedding does not know as "unknown".

    Raises:
        DataError: The name is unknown, or the data is neither cached nor to be had from the network.
    """
    if name not in _SOURCES:
        raise DataError(f"Unknown Keras data set '{name}'; known are {', '.join(_SOURCES)}.{nearest(name, _SOURCES)}")
    source, shape = _SOURCES[name]
    with _impatient_network():
        try:
            train, test = source(signature)
        except Exception as error:  # Keras raises a bare Exception for whatever the download meets
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"Data set '{name}' is not in Keras's cache (~/.keras/datasets) and could not be downloaded: {reason}"
            ) from None
    return shape(train, test, signature)


def _images(train: Pair, test: Pair, signature: Signature) -> RawData:
    def prepared(images: NDArray[Any]) -> NDArray[np.float32]:
        port = signature.inputs[0]
        if images.ndim == 3 and len(port.shape) == 3:
            images = images[..., None]
        pixels = images.astype(np.float32)
        return pixels if signature.scales_inputs else pixels / np.float32(255)

    parts = {"train": (prepared(train[0]), train[1]), "test": (prepared(test[0]), test[1])}
    return RawData(parts=parts, notes=(scaling_note(signature),))


def _texts(train: Pair, test: Pair, signature: Signature) -> RawData:
    port = signature.inputs[0]
    length = port.shape[0] if port.shape and port.shape[0] else _TEXT_LENGTH
    parts = {
        split: (keras.utils.pad_sequences(x, maxlen=length, truncating="post"), y)
        for split, (x, y) in (("train", train), ("test", test))
    }
    return RawData(parts=parts, notes=(f"Texts were cut or padded at the front to {length} words.",))


def _tables(train: Pair, test: Pair, signature: Signature) -> RawData:
    notes = () if signature.scales_inputs else ("Columns are as published: not standardised.",)
    return RawData(parts={"train": train, "test": test}, notes=notes)


def _load(dataset: str, _: Signature) -> tuple[Pair, Pair]:
    return getattr(keras.datasets, dataset).load_data()  # type: ignore[no-any-return]  # Keras is untyped


def _load_texts(dataset: str, signature: Signature) -> tuple[Pair, Pair]:
    words = signature.inputs[0].index_limit
    return getattr(keras.datasets, dataset).load_data(num_words=words)  # type: ignore[no-any-return]


def _load_california_housing(_: Signature) -> tuple[Pair, Pair]:
    """tf_keras does not know this one; the file and the split are those of Keras 3."""
    path = keras.utils.get_file(
        "california_housing.npz",
        origin="https://storage.googleapis.com/tensorflow/tf-keras-datasets/california_housing.npz",
        file_hash="1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f",
        cache_subdir="datasets",
    )
    with np.load(path, allow_pickle=False) as arrays:
        x, y = arrays["x"], arrays["y"]
    order = np.arange(len(x))
    np.random.RandomState(113).shuffle(order)
    train, test = np.split(order, [int(len(x) * 0.8)])
    return (x[train], y[train]), (x[test], y[test])


@contextlib.contextmanager
def _impatient_network() -> Iterator[None]:
    """Give up on a silent server early, and keep Keras's download progress out of the results on stdout."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT_S)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


_Source = Callable[[Signature], tuple[Pair, Pair]]
_Shape = Callable[[Pair, Pair, Signature], RawData]
_SOURCES: Mapping[str, tuple[_Source, _Shape]] = {
    **{name: (partial(_load, name), _images) for name in ("mnist", "fashion_mnist", "cifar10", "cifar100")},
    **{name: (partial(_load_texts, name), _texts) for name in ("imdb", "reuters")},
    "boston_housing": (partial(_load, "boston_housing"), _tables),
    "california_housing": (_load_california_housing, _tables),
}
