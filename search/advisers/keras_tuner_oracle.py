"""Keras Tuner's oracles as advisers: asked for the next policy, told how each trial ended."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import numpy as np

from paretune.search.advisers.keras_tuner_process import OracleProcess
from paretune.search.advisers.keras_tuner_trials import oracle_trials
from paretune.search.proposals.families import leaves_of
from paretune.search.proposals.references import Proposal, reference_policies
from paretune.search.proposals.untried import draw_neighbour, draw_untried
from paretune.search.settings import SamplerSettings, SearchProblem
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.trial import Trial
from paretune.spaces.suggest import nearest

_PREFIX = "keras-tuner"

#: The oracles, and the arguments of each that an experiment file can give.
_ARGUMENTS: Mapping[str, Mapping[str, type]] = MappingProxyType(
    {
        "bayesian": {"num_initial_points": int, "alpha": float, "beta": float},
        "hyperband": {},
        "random": {},
    }
)

#: Where Keras Tuner's own defaults do badly here. Three random trials per parameter outlast most budgets. With a beta
#: of 2.6 it looks into every far corner of a space of a few parameters before it comes back to what is good.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"bayesian": {"num_initial_points": 10, "beta": 1.0}})


def is_keras_tuner(name: str) -> bool:
    """Return whether a sampler's name asks for one of Keras Tuner's oracles, known or not."""
    return name.lower().replace("_", "-").startswith(_PREFIX)


class OracleSampler:
    """Proposes policies that no trial has had yet, by one of Keras Tuner's oracles.

    The oracles know a single objective. So each proposal minimises one scalar cost, with weights of the objectives
    drawn anew (ParEGO), and many proposals spread along the front; none of them sees the front itself.

    * ``keras-tuner:bayesian`` learns from the trials, by a Gaussian process.
    * ``keras-tuner:random`` learns nothing.
    * ``keras-tuner:hyperband`` draws policies at random as well, and learns only which of them to train for longer.
      That is the rungs' business here, so what remains of it is the random draw.

    A fresh oracle is told all trials for every question, and seeded with the problem's seed and their number. So a
    proposal is a function of the trials alone, as with :class:`paretune.search.advisers.sampler.PolicySampler`.

    References:
        Knowles (2006), ParEGO: a hybrid algorithm with on-line landscape approximation for expensive multiobjective
        optimization problems.
    """

    def __init__(
        self, problem: SearchProblem, trials: Sequence[Trial], *, process: OracleProcess | None = None
    ) -> None:
        """Check the settings of the sampler, and tell it the trials so far, the baseline among them.

        Args:
            problem: What is searched; its sampler names the oracle.
            trials: In any order, of any state.
            process: Where the oracle lives, to share one; ``None`` takes a new one, which starts at the first question.

        Raises:
            ConfigurationError: If the settings name no oracle, or arguments it does not take.
        """
        self._problem = problem
        self._kind = _oracle(problem.sampler)
        self._arguments = {**_DEFAULTS.get(self._kind, {}), **problem.sampler.arguments}
        self._process = process or OracleProcess()
        self._trials: dict[int, Trial] = {}
        self._known: set[str] = set()
        for trial in trials:
            self.tell(trial)

    def tell(self, trial: Trial) -> None:
        """Take note of a trial, or of how one that was told before has ended."""
        self._known.add(trial.candidate.policy.digest)
        self._trials[trial.number] = trial

    def knows(self, digest: str) -> bool:
        """Return whether a trial has had the policy of this digest."""
        return digest in self._known

    @property
    def references(self) -> tuple[Proposal, ...]:
        """The policies that people would try first."""
        return reference_policies(self._problem.space)

    def wanted(self) -> tuple[Policy, ...]:
        """Return nothing: the oracles know of trials only."""
        return ()

    def leaves(self, trial: Trial) -> tuple[Proposal, ...]:
        """Return policies that need no training after ``trial``: one number format for as many layers as can be."""
        return leaves_of(trial, self._problem)

    def ask(self) -> Proposal | None:
        """Return a policy that no trial has had, or ``None`` when the space has no other.

        What the oracle proposes may be known already: its Gaussian process looks for the best place between the
        choices, and rounds. Then it is the same but for one parameter, drawn at random.

        Raises:
            ConfigurationError: If the process of the oracle cannot start.
            RunError: If it ends, hangs or fails.
        """
        space = self._problem.space
        if not space.parameters:
            return None
        seed = self._seed()
        draws = random.Random(seed)  # noqa: S311  # no secret depends on it
        values = self._process.ask(self._question(seed))
        if values is None:
            return draw_untried(space, self.knows, draws)
        choice = {parameter.name: value for parameter, value in zip(space.parameters, values, strict=True)}
        policy = space.policy(choice)
        if not self.knows(policy.digest):
            return Proposal(choice, policy)
        return draw_neighbour(space, choice, self.knows, draws) or draw_untried(space, self.knows, draws)

    def close(self) -> None:
        """End the process of the oracle; it ends with the sampler at the latest."""
        self._process.close()

    def _question(self, seed: int) -> dict[str, Any]:
        # Uniform over all weights that add up to 1.
        weights = np.random.default_rng(seed).dirichlet(np.ones(len(self._problem.objectives)))
        trials = [self._trials[number] for number in sorted(self._trials)]
        return {
            "oracle": self._kind,
            "arguments": self._arguments,
            "seed": seed,
            "parameters": [
                (parameter.name, len(parameter.choices), parameter.is_ordered)
                for parameter in self._problem.space.parameters
            ],
            "trials": [astuple(trial) for trial in oracle_trials(trials, self._problem, weights.tolist())],
        }

    def _seed(self) -> int:
        """Return a seed of 32 bits that is not 0, which means none to Keras Tuner."""
        sequence = np.random.SeedSequence([self._problem.seed, len(self._trials)])
        return int(sequence.generate_state(1)[0]) or 1


def _oracle(settings: SamplerSettings) -> str:
    """Return the oracle that settings name, having checked its arguments and that Keras Tuner is there."""
    _, _, kind = settings.name.lower().replace("_", "-").partition(":")
    if kind not in _ARGUMENTS or not is_keras_tuner(settings.name):
        known = ", ".join(f"{_PREFIX}:{name}" for name in _ARGUMENTS)
        raise ConfigurationError(f"Unknown sampler '{settings.name}'; known are {known}.{nearest(kind, _ARGUMENTS)}")
    taken = _ARGUMENTS[kind]
    for name, value in settings.arguments.items():
        if name == "seed":
            raise ConfigurationError(
                f"`seed` of {_PREFIX}:{kind} follows from the experiment's own `seed`; leave it out."
            )
        if name not in taken:
            raise ConfigurationError(
                f"{_PREFIX}:{kind} has no argument '{name}'; known are {', '.join(taken) or 'none'}."
                f"{nearest(name, taken)}"
            )
        accepted = (int, float) if taken[name] is float else int
        if not isinstance(value, accepted) or isinstance(value, bool) or not 0 < value < float("inf"):
            number = "a number" if taken[name] is float else "a whole number"
            raise ConfigurationError(f"`{name}` of {_PREFIX}:{kind} must be {number} above 0, got {value!r}.")
    absent = [package for package in ("keras_tuner", "sklearn", "scipy") if find_spec(package) is None]
    if absent:
        raise ConfigurationError(f"{_PREFIX}:{kind} needs {', '.join(absent)}: install it, or use another sampler.")
    return kind
