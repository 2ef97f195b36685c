import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from paretune.search.variants.hyperparameters import hyperparameters_of
from paretune.spaces.candidates.hyperspace import OFF, Hyperparameter
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.policies.space import Space
from paretune.spaces.results.trial import Trial
from tests.fakes import AnalyticEvaluator, with_baseline
from tests.search.problems import a_problem

WISH = LayerPolicy(sparsity=0.5, clusters=16, quantization=Quantization.INT8_QAT)


def a_trial(**choices: Any) -> tuple[Trial, Space]:
    """Return a trial of the policy nearest to :data:`WISH`, and the space it is in."""
    problem = a_problem(choices=choices)
    policy, choice = problem.space.nearest(WISH)
    trial = with_baseline(AnalyticEvaluator()).open_trial(
        candidate=problem.candidate(policy), rung=Rung.FULL, origin="tried", parameters=choice
    )
    return trial, problem.space


def test_hyperparameters_have_the_values_that_a_policy_file_has() -> None:
    found = hyperparameters_of(*a_trial())
    assert found["values"]["conv0.sparsity"] == 0.5
    assert found["values"]["conv3.clusters"] == 16
    assert found["values"]["conv3.quantization"] == "int8_qat"
    assert found["space"][1] == {
        "class_name": "Choice",
        "config": {
            "name": "conv0.clusters",
            "default": 0,
            "conditions": [],
            "values": [0, 32, 16, 8],
            "ordered": True,
        },
    }


def test_a_trial_that_was_not_proposed_by_a_sampler_is_found_among_the_choices() -> None:
    trial, space = a_trial()
    assert hyperparameters_of(replace(trial, parameters={}), space) == hyperparameters_of(trial, space)


def test_hyperparameters_of_the_model_come_first_and_those_that_do_not_matter_are_left_out() -> None:
    hyperspace = (
        Hyperparameter(name="width", choices=(8, 16), default=16),
        Hyperparameter(name="rate", choices=("low", "high"), default="low", conditions={"width": (16,)}),
    )
    trial, space = a_trial()
    trial = replace(trial, candidate=replace(trial.candidate, hyperparameters={"width": 8, "rate": OFF}))
    found = hyperparameters_of(trial, space, hyperspace)
    assert found["space"][0]["config"] == {
        "name": "width",
        "default": 16,
        "conditions": [],
        "values": [8, 16],
        "ordered": True,
    }
    assert found["values"]["width"] == 8
    assert "rate" not in found["values"]
    assert [each["config"]["name"] for each in found["space"]].count("rate") == 0


def test_a_policy_outside_the_choices_is_refused() -> None:
    trial, _ = a_trial()
    _, narrow = a_trial(sparsity=(0.0, 0.9))
    with pytest.raises(ConfigurationError, match="The policy of trial 1 must be among the choices"):
        hyperparameters_of(replace(trial, parameters={}), narrow)


@pytest.mark.tensorflow
def test_keras_tuner_reads_them_and_goes_on_from_there() -> None:
    read = """
import json, sys
import keras_tuner
from keras_tuner.oracles import RandomSearchOracle
hyperparameters = keras_tuner.HyperParameters.from_config(json.load(sys.stdin))
oracle = RandomSearchOracle(objective="val_loss", hyperparameters=hyperparameters, seed=1)
other = oracle.populate_space("0")["values"]
print(json.dumps([hyperparameters.values, hyperparameters.get("conv1.quantization"), sorted(other)]))
"""
    document = hyperparameters_of(*a_trial())
    done = subprocess.run(
        [sys.executable, "-c", read], input=json.dumps(document), capture_output=True, text=True, check=True
    )
    values, one, others = json.loads(done.stdout.splitlines()[-1])
    assert values == document["values"]
    assert one == "int8_qat"
    assert others == sorted(values)
