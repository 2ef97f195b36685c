"""An exported file as an MLflow model: a folder that MLflow loads, serves and evaluates."""

from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from paretune.experiments.tracking.tracker import quieten_mlflow
from paretune.spaces.results.evaluator import FileExample

#: All that is needed to run the file; MLflow's server adds nothing to it.
_PACKAGES = ("mlflow", "ai-edge-litert", "numpy")

#: Where the file lies in the folder.
FILE_IN_FOLDER = "artifacts/model.tflite"


def write_model_folder(
    folder: Path, model: Path, example: FileExample, *, about: Mapping[str, Any], mlflow_model: Any = None
) -> None:
    """Write the folder of an MLflow model around a LiteRT file; nothing of it needs Paretune or TensorFlow.

    Args:
        folder: To be made; must not be there.
        model: The file; must be called ``model.tflite``.
        example: Gives the signature and the input example.
        about: What else ``MLmodel`` says, under ``metadata``.
        mlflow_model: Says where MLflow will keep it; ``None`` for a folder of its own.
    """
    quieten_mlflow()
    import mlflow.pyfunc
    from mlflow.models import infer_signature

    inputs, outputs = _one_or_all(example.inputs), _one_or_all(example.outputs)
    with as_file(files("paretune.experiments.exports") / "as-shipped" / "litert_model.py") as code:
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(code),
            artifacts={"model": str(model)},
            model_config={"answer": "scores"},
            signature=infer_signature(inputs, outputs),
            input_example=inputs,
            pip_requirements=[f"{package}=={version(package)}" for package in _PACKAGES],
            metadata=dict(about),
            mlflow_model=mlflow_model,
        )


def _one_or_all(arrays: Mapping[str, Any]) -> Any:
    """Return a single array as it is, so that MLflow takes tables and lists for it; several by name."""
    return next(iter(arrays.values())) if len(arrays) == 1 else dict(arrays)
