"""What ships with a file so that it can be tried, flashed and downloaded elsewhere."""

import hashlib
import io
from importlib.resources import files

import numpy as np

from paretune.experiments.exports.archive import ARCHIVE, zip_archive
from paretune.experiments.exports.c_array import HEADER, MOST_BYTES, SOURCE, c_header, c_source
from paretune.spaces.results.evaluator import FileExample

EXAMPLE = "example.npz"
SMOKE_TEST = "smoke_test.py"


def companions(title: str, name: str, model: bytes, example: FileExample) -> dict[str, bytes]:
    """Return the files that go with a model, by name: archive, example with the script that tries it, C array.

    Args:
        title: Name of the experiment.
        name: Of the model's file.
        model: Its contents.
        example: What it answers to a few samples.
    """
    made = {
        ARCHIVE: zip_archive(name, model),
        EXAMPLE: example_npz(example),
        SMOKE_TEST: shipped(SMOKE_TEST),
    }
    if len(model) <= MOST_BYTES:
        sha256 = hashlib.sha256(model).hexdigest()
        made[HEADER] = c_header(model, title=title, sha256=sha256, operators=example.operators).encode()
        made[SOURCE] = c_source(model, title=title).encode()
    return made


def shipped(name: str) -> bytes:
    """Return a script that is shipped as it is; no module of ours, whence the folder's name."""
    return (files("paretune.experiments.exports") / "as-shipped" / name).read_bytes()


def example_npz(example: FileExample) -> bytes:
    """Return the arrays of an example as a ``.npz`` file, under ``input:NAME`` and ``output:NAME``."""
    arrays = {f"input:{name}": array for name, array in example.inputs.items()}
    arrays |= {f"output:{name}": array for name, array in example.outputs.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
