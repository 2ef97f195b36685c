"""Run model.tflite on the samples of example.npz, and compare its answers with those recorded at the export.

Needs nothing but `pip install ai-edge-litert numpy`:

    python smoke_test.py [FOLDER]

FOLDER holds both files; by default, it is the one this script lies in.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

# Kernels sum in another order on another CPU, and integer ones may then round the other way: answers may differ by
# this share of the largest one.
TOLERANCE = 0.02

folder = Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
folder = folder if folder.is_dir() else folder.parent
with np.load(folder / "example.npz") as example:
    inputs = {name.removeprefix("input:"): example[name] for name in example if name.startswith("input:")}
    expected = {name.removeprefix("output:"): example[name] for name in example if name.startswith("output:")}

interpreter = Interpreter(model_path=str(folder / "model.tflite"))
interpreter.allocate_tensors()
model = interpreter.get_signature_runner()  # inputs and outputs by name: their order in the file means nothing

samples = len(next(iter(inputs.values())))
is_wrong = False
for number in range(samples):
    interpreter.reset_all_variables()  # recurrent layers would remember the sample before
    answers = model(**{name: rows[number : number + 1] for name, rows in inputs.items()})
    for name, rows in expected.items():
        answer, recorded = answers[name].astype(np.float64), rows[number : number + 1].astype(np.float64)
        largest = max(np.abs(recorded).max(initial=0.0), 1e-6)
        off = np.abs(answer - recorded).max(initial=0.0) / largest if answer.shape == recorded.shape else np.inf
        is_right = off <= TOLERANCE  # NaN is not
        print(f"sample {number}, {name} {list(answer.shape)}: off by {off:.2e} of the largest value",
              "ok" if is_right else "WRONG")  # fmt: skip
        is_wrong = is_wrong or not is_right

print("model.tflite does NOT answer as it did at the export." if is_wrong else f"All {samples} samples agree.")
sys.exit(1 if is_wrong else 0)
