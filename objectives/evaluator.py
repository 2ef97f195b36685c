"""The evaluator that an experiment needs: of one model, or of the models of one hyperspace."""

from pathlib import Path

from paretune.objectives.architectures.evaluator import ArchitectureEvaluator
from paretune.objectives.architectures.hypermodel import find_hypermodel
from paretune.objectives.data.dataset import load_dataset
from paretune.objectives.keras_evaluator import KerasEvaluator
from paretune.objectives.settings import EvaluatorSettings
from paretune.objectives.working_copy.prepared import prepare_model

__all__ = ["ArchitectureEvaluator", "KerasEvaluator", "build_evaluator"]


def build_evaluator(settings: EvaluatorSettings) -> KerasEvaluator | ArchitectureEvaluator:
    """Load model and data and return an evaluator for them.

    Raises:
        ParetuneError: The model or the data cannot be used; one line says why.
    """
    beside = Path(settings.beside)
    hypermodel = find_hypermodel(settings.model, beside)
    if hypermodel is not None:
        return ArchitectureEvaluator(settings, hypermodel)
    prepared = prepare_model(settings)
    data = load_dataset(settings.data, beside=beside, model=prepared.model, seed=settings.seed)
    return KerasEvaluator(settings, prepared, data)
