"""Trials share their graphs, so that a worker does not grow with every one of them."""

import psutil
import pytest

from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.kernels.weights import read_weights
from paretune.spaces.policies.policy import LayerPolicy
from tests.objectives.engine.small_models import QAT, mlp, noise_for, policy, run_all

pytestmark = pytest.mark.tensorflow


@pytest.mark.slow
def test_twenty_trials_do_not_make_the_process_grow():
    model = mlp()
    runner = CompiledStages(model, noise_for(model))

    def train(number):
        decided = LayerPolicy(sparsity=0.1 + 0.03 * number, clusters=3 + number, quantization=QAT)
        run_all(runner, policy(first=decided, second=decided), read_weights(model), seed=number, steps=4)

    train(0)
    train(1)
    before = psutil.Process().memory_info().rss
    for number in range(2, 22):
        train(number)
    assert psutil.Process().memory_info().rss - before < 60 * 2**20
