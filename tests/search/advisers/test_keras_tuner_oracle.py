import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from statistics import mean, median
from typing import Any, ClassVar

import numpy as np
import pytest

from paretune.search.advisers import keras_tuner_oracle
from paretune.search.advisers.keras_tuner_child import QuickRegressor
from paretune.search.advisers.keras_tuner_oracle import OracleSampler, is_keras_tuner
from paretune.search.advisers.keras_tuner_process import OracleProcess
from paretune.search.front import values_of
from paretune.search.settings import SamplerSettings
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.results.trial import TrialState
from tests.contracts.samplers import (
    EVALUATOR,
    Build,
    SamplerContract,
    add_seeds,
    completed,
    distance,
    infeasible_proposals,
    proposals,
    random_proposals,
)
from tests.fakes import SIZE, AnalyticEvaluator, with_baseline
from tests.search.problems import a_problem

BAYESIAN = SamplerSettings(name="keras-tuner:bayesian")


@pytest.fixture(scope="module")
def process() -> Iterator[OracleProcess]:
    """Return the one process that all samplers here share: it takes 10 s to start."""
    process = OracleProcess()
    yield process
    process.close()


class OracleContract(SamplerContract):
    @pytest.fixture
    def build(self, process: OracleProcess) -> Build:
        return lambda problem, ledger: OracleSampler(problem, ledger.trials(), process=process)


@pytest.mark.tensorflow
class TestRandom(OracleContract):
    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="keras-tuner:random")


@pytest.mark.tensorflow
class TestHyperband(OracleContract):
    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="keras-tuner:hyperband")


@pytest.mark.slow
@pytest.mark.tensorflow
class TestBayesian(OracleContract):
    #: A proposal takes 1 s in a space of 6 parameters, once the first 20 have been drawn at random.
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {"clusters": (None,)}

    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="keras-tuner:bayesian", arguments={"num_initial_points": 20})

    def test_good_seeds_draw_later_proposals_towards_them(self, build: Build) -> None:
        good = LayerPolicy(sparsity=0.5, quantization=Quantization.INT8_QAT)
        problem = self.problem(BAYESIAN)
        seeded = with_baseline(EVALUATOR)
        add_seeds(problem, seeded, around=good)
        with_seeds = [distance(proposal, good) for proposal in proposals(problem, seeded, 20, build)][-10:]
        unseeded = [distance(proposal, good) for proposal in random_proposals(problem, 20)]
        assert mean(with_seeds) < 0.75 * mean(unseeded)

    def test_refusals_told_as_failures_would_be_proposed_for_ever(self, build: Build) -> None:
        """Why refused trials are told as completed, at a high cost."""
        tried = partial(infeasible_proposals, self.problem(BAYESIAN, seed=1), most_bytes=4e3, build=build, count=40)
        refused, failed = tried(told_as=TrialState.REFUSED), tried(told_as=TrialState.FAILED)
        assert sum(refused[-20:]) <= 5
        assert sum(failed[-20:]) >= 10


@pytest.mark.tensorflow
def test_the_bayesian_oracle_learns_from_trials(process: OracleProcess) -> None:
    problem = a_problem(EVALUATOR, sampler="keras-tuner:bayesian", objectives=(SIZE,), choices={"clusters": (None,)})
    ledger = with_baseline(EVALUATOR)
    for proposal in random_proposals(problem, 15):
        completed(problem, ledger, proposal)
    known = [values_of(trial)["size_bytes"] for trial in ledger.trials()]
    sampler = OracleSampler(problem, ledger.trials(), process=process)
    found = []
    for _ in range(2):
        proposal = sampler.ask()
        assert proposal is not None
        trial = completed(problem, ledger, proposal)
        sampler.tell(trial)
        found.append(values_of(trial)["size_bytes"])
    assert mean(found) < 0.8 * median(known)
    assert sampler.ask() == OracleSampler(problem, ledger.trials(), process=process).ask()


def question(oracle: str, trials: list[tuple[list[int], str, float | None]], choices: int) -> dict[str, Any]:
    """Return a question about a single parameter."""
    arguments = {"num_initial_points": 3} if oracle == "bayesian" else {}
    parameters = [("conv0.sparsity", choices, True)]
    return {"oracle": oracle, "arguments": arguments, "seed": 1, "parameters": parameters, "trials": trials}


@pytest.mark.tensorflow
@pytest.mark.parametrize("oracle", ["random", "hyperband"])
@pytest.mark.parametrize("tried", [("COMPLETED", 0.5), ("FAILED", None), ("RUNNING", None)])
def test_oracles_draw_nothing_that_has_been_tried(
    process: OracleProcess, oracle: str, tried: tuple[str, float | None]
) -> None:
    assert process.ask(question(oracle, [([1], *tried)], choices=2)) == [0]
    assert process.ask(question(oracle, [([0], *tried), ([1], *tried)], choices=2)) is None


@pytest.mark.tensorflow
@pytest.mark.parametrize("oracle", ["random", "hyperband", "bayesian"])
def test_oracles_draw_by_the_seed(process: OracleProcess, oracle: str) -> None:
    drawn = question(oracle, [], choices=1000)
    assert process.ask(drawn) == process.ask(drawn) != process.ask({**drawn, "seed": 2})


@pytest.mark.tensorflow
def test_hyperband_draws_what_random_draws_whatever_it_is_told(process: OracleProcess) -> None:
    """Why it is said to learn nothing: all it learns is which trials to train for longer."""
    told = [([place], "COMPLETED", (place - 60) ** 2 / 3600) for place in (0, 20, 40, 70, 90, 55)]
    random, hyperband, bayesian = (
        process.ask(question(oracle, told, choices=1000)) for oracle in ("random", "hyperband", "bayesian")
    )
    assert hyperband == random != bayesian


@pytest.mark.tensorflow
def test_the_bayesian_oracle_takes_what_is_running_for_bad(process: OracleProcess) -> None:
    ended = [([place], "COMPLETED", (place - 60) ** 2 / 3600) for place in (0, 20, 40, 70, 90, 55)]
    best, bad, running = (
        process.ask(question("bayesian", [*ended, ([60], status, cost)], choices=101))
        for status, cost in (("COMPLETED", 0.0), ("COMPLETED", 1.0), ("RUNNING", None))
    )
    assert running == bad != best


def test_its_process_predicts_what_scikit_learn_predicts() -> None:
    from sklearn.base import clone
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    draws = np.random.default_rng(0)
    points = draws.uniform(size=(20, 3))
    costs = (points**2).sum(axis=1)
    slow = GaussianProcessRegressor(kernel=Matern(nu=2.5), alpha=1e-4, normalize_y=True, random_state=0)
    quick = QuickRegressor(clone(slow))
    elsewhere = np.concatenate([draws.uniform(size=(5, 3)), points[:2]])
    for _ in ("before any trial is known", "after"):
        for ours, theirs in zip(
            quick.predict(elsewhere, return_std=True), slow.predict(elsewhere, return_std=True), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)
        slow.fit(points, costs)
        quick.fit(points, costs)


class ScriptedProcess(OracleProcess):
    """Answers what it is told to; what it was asked is kept in ``questions``."""

    def __init__(self, *answers: list[int] | None) -> None:
        super().__init__()
        self._answers = list(answers)
        self.questions: list[Mapping[str, Any]] = []

    def ask(self, question: Mapping[str, Any]) -> list[int] | None:
        self.questions.append(question)
        return self._answers.pop(0)


def test_a_policy_that_is_known_gives_way_to_a_neighbour_of_it() -> None:
    problem = a_problem(sampler="keras-tuner:bayesian")
    untouched = [0] * len(problem.space.parameters)
    sampler = OracleSampler(
        problem, with_baseline(AnalyticEvaluator()).trials(), process=ScriptedProcess(untouched, untouched)
    )
    proposal = sampler.ask()
    assert proposal is not None
    assert sum(index != 0 for index in proposal.choice.values()) == 1
    assert problem.space.policy(proposal.choice) == proposal.policy
    assert sampler.ask() == proposal


def test_where_the_oracle_knows_no_more_a_policy_is_drawn_at_random() -> None:
    sampler = OracleSampler(
        a_problem(sampler="keras-tuner:random"),
        with_baseline(AnalyticEvaluator()).trials(),
        process=ScriptedProcess(None, None),
    )
    proposal = sampler.ask()
    assert proposal is not None
    assert sampler.ask() == proposal


def test_every_proposal_weighs_the_objectives_anew() -> None:
    problem = a_problem(EVALUATOR, sampler="keras-tuner:bayesian")
    ledger = with_baseline(EVALUATOR)
    process = ScriptedProcess(None, None, None)
    sampler = OracleSampler(problem, ledger.trials(), process=process)
    for proposal in random_proposals(problem, 3):
        sampler.tell(completed(problem, ledger, proposal))
        sampler.ask()
    costs_of_the_first = [question["trials"][1][2] for question in process.questions]
    assert len(set(costs_of_the_first)) == 3
    assert len({question["seed"] for question in process.questions}) == 3


def test_a_space_without_parameters_has_nothing_to_propose() -> None:
    fixed = {"sparsity": (0.5,), "clusters": (None,), "quantization": ("int8",)}
    problem = a_problem(sampler="keras-tuner:random", choices=fixed)
    assert OracleSampler(problem, with_baseline(AnalyticEvaluator()).trials()).ask() is None


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        (
            "keras-tuner:baysian",
            {},
            "Unknown sampler 'keras-tuner:baysian'; known are keras-tuner:bayesian, keras-tuner:hyperband, "
            "keras-tuner:random. Did you mean 'bayesian'?",
        ),
        ("keras-tuner:BayesianOptimization", {}, "Did you mean 'bayesian'?"),
        ("keras-tuner", {}, "Unknown sampler 'keras-tuner'; known are keras-tuner:bayesian"),
        ("keras-tuner:", {}, "Unknown sampler 'keras-tuner:'"),
        ("keras-tuner-random", {}, "Unknown sampler 'keras-tuner-random'"),
        ("keras-tuner:bayesian", {"betta": 2.0}, "known are num_initial_points, alpha, beta. Did you mean 'beta'?"),
        ("keras-tuner:bayesian", {"beta": "2"}, "`beta` of keras-tuner:bayesian must be a number above 0, got '2'."),
        ("keras-tuner:bayesian", {"beta": float("nan")}, "must be a number above 0, got nan."),
        ("keras-tuner:bayesian", {"alpha": True}, "must be a number above 0, got True."),
        ("keras-tuner:bayesian", {"num_initial_points": 2.5}, "must be a whole number above 0, got 2.5."),
        ("keras-tuner:bayesian", {"num_initial_points": 0}, "must be a whole number above 0, got 0."),
        ("keras-tuner:random", {"seed": 3}, "follows from the experiment's own `seed`"),
        (
            "keras-tuner:hyperband",
            {"max_epochs": 9},
            "keras-tuner:hyperband has no argument 'max_epochs'; known are none.",
        ),
    ],
)
def test_settings_that_cannot_work_are_answered_in_one_line(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OracleSampler(a_problem(sampler=name, arguments=arguments), [])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("keras-tuner:random", True),
        ("Keras_Tuner:Random", True),
        ("keras-tuner:x", True),
        ("random", False),
        ("tpe", False),
    ],
)
def test_oracles_are_told_from_other_samplers_by_name(name: str, expected: bool) -> None:
    assert is_keras_tuner(name) is expected


def test_a_name_may_be_spelled_in_capitals() -> None:
    assert OracleSampler(a_problem(sampler="Keras_Tuner:Random"), []).knows("") is False


def test_keras_tuner_that_is_absent_is_refused_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_tuner_oracle, "find_spec", lambda package: None)
    with pytest.raises(ConfigurationError, match="keras-tuner:random needs keras_tuner, sklearn, scipy: install it"):
        OracleSampler(a_problem(sampler="keras-tuner:random"), [])


@pytest.mark.tensorflow
def test_asking_loads_keras_tuner_in_no_process_but_its_own() -> None:
    ask = """
import sys
from paretune.search.advisers.keras_tuner_oracle import OracleSampler
from tests.fakes import AnalyticEvaluator, with_baseline
from tests.search.problems import a_problem
sampler = OracleSampler(a_problem(sampler="keras-tuner:random"), with_baseline(AnalyticEvaluator()).trials())
assert sampler.ask() is not None
print({name.partition(".")[0] for name in sys.modules} & {"keras_tuner", "keras", "tensorflow", "tf_keras", "sklearn"})
"""
    shown = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert (shown.stdout, shown.stderr) == ("set()\n", "")
