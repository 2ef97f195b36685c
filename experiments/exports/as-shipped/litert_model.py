"""An MLflow model around a LiteRT file: needs MLflow, LiteRT and NumPy, and nothing that trained the file.

One array goes in where the file has one input, else a dictionary of arrays by input name; samples first. One array
comes out where it has one output, else a dictionary by output name.

`model_config={"answer": "labels"}` gives the number of the likeliest class instead of its scores, which is what
`mlflow.models.evaluate(..., model_type="classifier")` compares with.
"""

import threading

import mlflow
import numpy as np
from ai_edge_litert.interpreter import Interpreter


class LiteRTModel(mlflow.pyfunc.PythonModel):
    """Runs the file one sample at a time, each from a clean state."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Load the file."""
        self._interpreter = Interpreter(model_path=context.artifacts["model"])
        self._interpreter.allocate_tensors()
        self._run = self._interpreter.get_signature_runner()
        self._inputs = self._run.get_input_details()
        self._answer = (context.model_config or {}).get("answer", "scores")
        self._lock = threading.Lock()  # an interpreter runs one sample at a time, a server asks from several threads

    # MLflow wants a hint, and knows this one; several inputs come as a dictionary of arrays
    def predict(self, context: mlflow.pyfunc.PythonModelContext, model_input: np.ndarray, params: dict | None = None):
        """Return what the file answers."""
        if not isinstance(model_input, dict):
            (name,) = self._inputs
            model_input = {name: model_input}
        samples = {name: np.asarray(model_input[name], each["dtype"]) for name, each in self._inputs.items()}
        count = len(next(iter(samples.values())))
        with self._lock:
            answers = [self._alone({name: rows[n : n + 1] for name, rows in samples.items()}) for n in range(count)]
        outputs = {
            name: np.concatenate([answer[name] for answer in answers])
            for name in sorted(self._run.get_output_details())
        }
        if len(outputs) > 1:
            return outputs
        (scores,) = outputs.values()
        return _labels(scores) if self._answer == "labels" else scores

    def _alone(self, sample: dict) -> dict:
        self._interpreter.reset_all_variables()  # recurrent layers would remember the sample before
        return self._run(**sample)


def _labels(scores: np.ndarray) -> np.ndarray:
    """Return the likeliest class; of a single probability, whether it is above one half."""
    return scores.argmax(axis=-1) if scores.shape[-1] > 1 else (scores[..., 0] > 0.5).astype(np.int64)


mlflow.models.set_model(LiteRTModel())
