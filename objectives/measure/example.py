"""Record what a file answers to a few samples, so that it can be tried where neither data nor Keras are."""

from collections.abc import Sequence

import numpy as np

from paretune.objectives.data.rows import Rows
from paretune.objectives.flatbuffer.graph import read_graph
from paretune.objectives.measure.interpreter import allocate, open_interpreter
from paretune.spaces.results.evaluator import FileExample

#: More than one: a state that is carried from sample to sample shows from the second on.
_SAMPLES = 3


def record_example(
    model: bytes,
    inputs: Sequence[Rows],
    input_names: Sequence[str],
    output_names: Sequence[str],
    *,
    threads: int = 1,
) -> FileExample:
    """Run a file on the first samples, one at a time, and keep what went in and what came out.

    Args:
        model: Contents of a ``.tflite`` file for a batch of one.
        inputs: Rows for each input, one per sample, in the order of ``input_names``.
        input_names: Names in the file's signature.
        output_names: Likewise.
        threads: Threads for the kernels.

    Raises:
        MeasurementFailed: The file cannot be read.
    """
    interpreter = open_interpreter(model, threads=threads)
    allocate(interpreter)
    signature = interpreter.get_signature_runner()
    takes = signature.get_input_details()
    samples = {
        name: np.asarray(rows[:_SAMPLES]).astype(takes[name]["dtype"])
        for name, rows in zip(input_names, inputs, strict=True)
    }
    answers: dict[str, list[np.ndarray]] = {name: [] for name in output_names}
    for number in range(min(_SAMPLES, len(inputs[0]))):
        interpreter.reset_all_variables()
        answered = signature(**{name: rows[number : number + 1] for name, rows in samples.items()})
        for name, given in answers.items():
            given.append(answered[name])
    return FileExample(
        inputs=samples,
        outputs={name: np.concatenate(rows) for name, rows in answers.items()},
        operators=tuple(sorted({operator.kind for operator in read_graph(model).operators})),
    )
