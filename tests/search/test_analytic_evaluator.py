import pytest

from tests.contracts.evaluator import EvaluatorContract
from tests.fakes import AnalyticEvaluator


class TestAnalyticEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> AnalyticEvaluator:
        return AnalyticEvaluator()
