from collections.abc import Mapping
from typing import Any, ClassVar

import optuna
import pytest

from paretune.search.advisers import optuna_samplers
from paretune.search.advisers.sampler import PolicySampler
from paretune.search.settings import SamplerSettings
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.trial import TrialState
from tests.contracts.samplers import TINY, LearnerContract, SamplerContract, infeasible_proposals
from tests.fakes import ACCURACY, AnalyticEvaluator, with_baseline
from tests.search.problems import a_problem


class TestTpe(LearnerContract):
    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings()

    def test_refusals_told_as_failures_would_be_proposed_for_ever(self, settings: SamplerSettings) -> None:
        """Why refused trials are told as pruned, with a broken constraint."""
        problem = self.problem(settings, seed=1)
        refused = infeasible_proposals(problem, most_bytes=2600, told_as=TrialState.REFUSED)
        failed = infeasible_proposals(problem, most_bytes=2600, told_as=TrialState.FAILED)
        assert sum(refused[-40:]) <= 25
        assert sum(failed[-40:]) >= 35


class TestNsgaII(LearnerContract):
    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="NSGAIISampler")


class TestNsgaIII(LearnerContract):
    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="NSGAIIISampler", arguments={"population_size": 12})


class TestRandom(SamplerContract):
    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="random")


class TestQmc(SamplerContract):
    follows_the_seed = False

    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="QMCSampler")


class TestScrambledQmc(SamplerContract):
    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="qmc", arguments={"scramble": True, "qmc_type": "halton"})


class TestGrid(SamplerContract):
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = TINY

    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="grid")


class TestBruteForce(SamplerContract):
    @pytest.fixture
    def settings(self) -> SamplerSettings:
        return SamplerSettings(name="BruteForceSampler")


def sampler_of(name: str, arguments: dict[str, Any] | None = None, **settings: Any) -> PolicySampler:
    return PolicySampler(
        a_problem(sampler=name, arguments=arguments, **settings), with_baseline(AnalyticEvaluator()).trials()
    )


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("tpee", {}, "Did you mean 'TPESampler'?"),
        ("NSGAII_Sampler", {}, "Did you mean 'NSGAIISampler'?"),
        ("PartialFixedSampler", {}, "Unknown sampler"),
        ("CmaEsSampler", {}, "CmaEsSampler optimises one objective, and this search has 3."),
        ("grid", {}, "A grid has at most 10,000 points; this space has 796,594,176."),
        ("tpe", {"n_startup_trails": 3}, "Did you mean 'n_startup_trials'?"),
        ("tpe", {"n_startup_trials": "three"}, "`n_startup_trials` of TPESampler must be int, got 'three'."),
        ("tpe", {"n_ei_candidates": True}, "`n_ei_candidates` of TPESampler must be int, got True."),
        ("tpe", {"gamma": "default"}, "`gamma` of TPESampler takes code"),
        ("tpe", {"seed": 3}, "follows from the experiment's own `seed`"),
        ("nsgaii", {"population_size": 1}, "`population_size` must be greater than or equal to 2."),
        ("nsgaii", {"crossover_prob": 1.5}, "`crossover_prob` must be a float value within the range"),
        ("qmc", {"qmc_type": "sobl"}, "Choose either `halton` or `sobol`"),
    ],
)
def test_settings_that_cannot_work_are_answered_in_one_line(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sampler_of(name, arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sampler_whose_package_is_absent_is_refused_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_samplers, "find_spec", lambda package: None)
    with pytest.raises(ConfigurationError, match="GPSampler needs torch, scipy: install it"):
        sampler_of("GPSampler")


def test_one_objective_is_enough() -> None:
    assert sampler_of("tpe", objectives=(ACCURACY,)).ask() is not None


def test_the_users_own_optuna_log_stays_as_loud_as_it_was() -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        sampler_of("tpe").ask()
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)


def test_a_space_without_parameters_has_nothing_to_propose() -> None:
    fixed = {"sparsity": (0.5,), "clusters": (None,), "quantization": ("int8",)}
    assert sampler_of("tpe", choices=fixed).ask() is None
