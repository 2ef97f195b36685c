"""Who takes part in the comparison of searches, by name; Paretune's funnel whole, and with parts taken away."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from competitors import SAMPLERS, run_optuna, run_uniform
from replay import Course, problem_of, replay
from tabular import read_table

from paretune.search.settings import FUNNEL, SamplerSettings
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import Budget

#: What accuracy may be lost: the edge of the volume that the tables are scored by.
MOST_DROP = 0.1
#: The funnel is done long before.
_MOST_FUNNEL_TRIALS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to search.

    Attributes:
        sampler: Name, as in an experiment file; empty for those that are run as their own documentation shows.
        arguments: Of the sampler.
        rungs: What may be spent on a trial.
        leaves: Policies tried for free after each trained one, beside the sampler.
        needs: Packages that must be there.
        is_random: Whether seeds make a difference.
    """

    sampler: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    rungs: tuple[Rung, ...] = tuple(Rung)
    leaves: int = 0
    needs: tuple[str, ...] = ()
    is_random: bool = True


CONTENDERS: Mapping[str, Contender] = {
    "paretune": Contender(sampler=FUNNEL),
    **{name: Contender(needs=("torch",) if name == "GP" else ()) for name in SAMPLERS},
    "keras-tuner:bayesian": Contender(sampler="keras-tuner:bayesian", rungs=(Rung.FULL,)),
    "uniform grid": Contender(is_random=False),
    "without rungs": Contender(sampler=FUNNEL, rungs=(Rung.FULL,)),
    "without leaves": Contender(sampler=FUNNEL, arguments={"leaves": False, "thrift": 0.0}),
    "without learner": Contender(sampler=FUNNEL, arguments={"explore_every": 1, "seeds": 30}),
    "without profile": Contender(sampler="tpe", leaves=2),
}


def run_contender(table: str, name: str, seed: int, trials: int, until: float) -> Course:
    """Search a table once, for so many full trials or until a share of the volume is covered."""
    recorded, contender = read_table(table), CONTENDERS[name]
    if name in SAMPLERS:
        return run_optuna(recorded, name, seed, trials, until=until, most_drop=MOST_DROP)
    if name == "uniform grid":
        return run_uniform(recorded)
    problem = problem_of(
        recorded,
        seed=seed,
        sampler=SamplerSettings(name=contender.sampler, arguments=contender.arguments),
        rungs=contender.rungs,
        leaves=contender.leaves,
        constraints=(Constraint(objective="accuracy", bound=Bound.DROP, value=MOST_DROP),),
        budget=Budget(trials=min(trials, _MOST_FUNNEL_TRIALS)),
    )
    return replay(recorded, problem, until=until)
