"""The samplers that Paretune is compared with, run as their own documentation shows, on the same table.

They get what helps them for nothing: sizes as logarithms, the bound on the accuracy as a constraint, trained stages
that are shared, and a policy that they propose again costs nothing and is not counted; it is told the known result, as
Optuna's FAQ advises. Who proposes nothing new for long is given a policy at random.
"""

import itertools
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import optuna
from replay import Course, Staircase
from tabular import Table, TabularEvaluator

from paretune.search.proposals.untried import draw_untried
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import Policy

#: Repeats in a row after which a policy is drawn at random instead: what Paretune does with Optuna's samplers.
_MOST_REPEATS = 20

SAMPLERS: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "qmc": lambda seed: optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False),
    "optuna default (TPE)": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "multivariate TPE": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
    "NSGA-II": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
    "NSGA-III": lambda seed: optuna.samplers.NSGAIIISampler(seed=seed),
    "GP": lambda seed: optuna.samplers.GPSampler(seed=seed),
}


class _Bench:
    """Evaluates policies of a table, and notes the course."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._evaluator = TabularEvaluator(table)
        self._recipe, self._architecture = table.recipe, table.description.architecture
        self._known: dict[str, tuple[float, float]] = {}
        self._front = Staircase(table)
        self._steps, self._seconds, self._lookup = 0, 0.0, 0.0
        self._began = time.perf_counter()
        self.course = Course()

    def knows(self, digest: str) -> bool:
        """Return whether the policy of this digest has been measured."""
        return digest in self._known

    def measure(self, policy: Policy) -> tuple[float, float, bool]:
        """Return accuracy and size, and whether the policy is new."""
        if policy.digest in self._known:
            return (*self._known[policy.digest], False)
        started = time.perf_counter()
        candidate = Candidate(architecture=self._architecture, recipe=self._recipe, policy=policy)
        measured = self._evaluator.evaluate(candidate, Rung.FULL, Limit())
        self._steps += measured.training_steps
        self._seconds += sum(measured.seconds.values())
        accuracy, size = measured.values["accuracy"], measured.values["size_bytes"]
        self._lookup += time.perf_counter() - started
        self._known[policy.digest] = accuracy, size
        own = time.perf_counter() - self._began - self._lookup
        self.course.note(
            (accuracy, size),
            volume=self._front.with_point(accuracy, size),
            training_steps=self._steps,
            seconds=self._seconds + own,
            search_seconds=own,
        )
        return accuracy, size, True


def run_optuna(table: Table, name: str, seed: int, trials: int, *, until: float, most_drop: float) -> Course:
    """Run one of :data:`SAMPLERS` for so many different policies, or until a share of the volume is covered."""
    bench = _Bench(table)
    draws = random.Random(seed)  # noqa: S311  # no secret depends on it
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        each.name: optuna.distributions.IntDistribution(0, len(each.choices) - 1)
        if each.is_ordered
        else optuna.distributions.CategoricalDistribution(tuple(range(len(each.choices))))
        for each in table.space.parameters
    }
    space = table.space
    least = table.about["values"]["accuracy"] - most_drop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental arguments
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=SAMPLERS[name](seed))
        repeats = 0
        while not bench.course.is_over(trials, until):
            if repeats == _MOST_REPEATS:
                untried = draw_untried(space, bench.knows, draws)
                if untried is None:
                    break
                study.enqueue_trial(dict(untried.choice))
            trial = study.ask(distributions)
            accuracy, size, is_new = bench.measure(space.policy({key: int(trial.params[key]) for key in distributions}))
            trial.set_constraint("accuracy", least - accuracy)
            study.tell(trial, [accuracy, math.log2(size)])
            repeats = 0 if is_new else repeats + 1
    return bench.course


def run_uniform(table: Table) -> Course:
    """Try what a careful person would: the same decision for every layer, every combination of choices."""
    bench = _Bench(table)
    for policy in _uniform_policies(table):
        bench.measure(policy)
    return bench.course


def _uniform_policies(table: Table) -> Iterator[Policy]:
    parameters = table.space.parameters
    knobs = sorted({each.knob for each in parameters}, reverse=True)
    values: dict[str, list[Any]] = {knob: [] for knob in knobs}
    for each in parameters:
        values[each.knob] += [value for value in each.choices if value not in values[each.knob]]
    for combination in itertools.product(*(values[knob] for knob in knobs)):
        wish = dict(zip(knobs, combination, strict=True))
        yield table.space.policy({each.name: _nearest(each.choices, wish[each.knob]) for each in parameters})


def _nearest(choices: tuple[Any, ...], wish: Any) -> int:
    if wish in choices:
        return choices.index(wish)
    if not isinstance(wish, float):
        return 0
    return int(np.argmin([abs(choice - wish) for choice in choices]))
