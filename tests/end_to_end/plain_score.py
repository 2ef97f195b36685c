"""Score a .tflite as somebody does who has never heard of Paretune.

``python plain_score.py model.tflite data.npz accuracy|mae`` prints ``{"validation": SCORE, "test": SCORE}``.
The arrays are ``x_val y_val x_test y_test``; labels are class numbers.
"""

import json
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def predict(interpreter: Interpreter, x: np.ndarray) -> np.ndarray:
    """Run the model on one sample after another."""
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for sample in x:
        interpreter.set_tensor(given["index"], sample[np.newaxis].astype(np.float32))
        interpreter.reset_all_variables()  # a recurrent layer remembers the sample before
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(wanted["index"])[0].copy())
    return np.stack(outputs)


def accuracy(output: np.ndarray, y: np.ndarray) -> float:
    """Return the share of right answers; a single output is the probability of class 1."""
    labels = output.argmax(axis=1) if output.shape[1] > 1 else (output[:, 0] > 0.5).astype(int)
    return int((labels == y).sum()) / len(y)


def mae(output: np.ndarray, y: np.ndarray) -> float:
    """Return the mean absolute error."""
    return float(np.abs(output[:, 0].astype(np.float64) - y).mean())


def main() -> None:
    """Score both held-out splits."""
    model, data, metric = sys.argv[1:]
    interpreter = Interpreter(model_path=model)
    interpreter.allocate_tensors()
    score = {"accuracy": accuracy, "mae": mae}[metric]
    with np.load(data) as arrays:
        scores = {
            split: score(predict(interpreter, arrays[f"x_{name}"]), arrays[f"y_{name}"])
            for split, name in (("validation", "val"), ("test", "test"))
        }
    loaded = {name.partition(".")[0] for name in sys.modules} & {"paretune", "tensorflow", "tf_keras", "keras"}
    if loaded:
        sys.exit(f"a plain script must not have loaded {sorted(loaded)}")
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
