"""Optuna's samplers by name, with arguments from an experiment file."""

import inspect
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GridSampler, QMCSampler

from paretune.search.settings import SamplerSettings
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.space import Space
from paretune.spaces.suggest import nearest

MOST_GRID_POINTS = 10_000

#: These need something that an experiment file cannot give them: another sampler, or a subclass.
_NOT_BY_NAME = ("BaseSampler", "BaseGASampler", "PartialFixedSampler")
_SINGLE_OBJECTIVE = ("CmaEsSampler",)

#: What samplers import, but only once they are asked: in the middle of a search.
_PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"CmaEsSampler": ("cmaes",), "GPSampler": ("torch", "scipy")}
)

#: Where Optuna's own defaults do badly here. Independent TPE proposes a third of its policies again, and without
#: ``group`` one trial that lacks a parameter shrinks the joint space. A generation of 50 outlasts most budgets.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "TPESampler": {"multivariate": True, "group": True},
        "NSGAIISampler": {"population_size": 20},
        "NSGAIIISampler": {"population_size": 20},
        "QMCSampler": {"warn_independent_sampling": False},
    }
)

_PLAIN_TYPES: Mapping[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


class SequenceQMCSampler(QMCSampler):
    """A QMC sampler that returns a given point of its sequence.

    Optuna counts the points in the study; a study that is rebuilt for every question has to be told.
    """

    position = 0

    def _find_sample_id(self, study: optuna.Study, search_space: Mapping[str, Any]) -> int:
        return self.position


def sampler_class(settings: SamplerSettings, space: Space, *, objectives: int) -> type[BaseSampler]:
    """Return the class that ``settings`` name, having checked that it can serve.

    Raises:
        ConfigurationError: On an unknown name, a sampler that cannot serve this problem, a grid above
            :data:`MOST_GRID_POINTS`, or arguments it does not take.
    """
    found = _named(settings.name)
    name = found.__name__
    if name in _SINGLE_OBJECTIVE and objectives > 1:
        raise ConfigurationError(
            f"{name} optimises one objective, and this search has {objectives}. Use TPESampler or NSGAIISampler."
        )
    if found is GridSampler and space.cardinality > MOST_GRID_POINTS:
        points = f"{space.cardinality:,}" if space.cardinality < 10**9 else f"{space.cardinality:.1e}"
        raise ConfigurationError(
            f"A grid has at most {MOST_GRID_POINTS:,} points; this space has {points}. "
            "Offer fewer choices, pin or group layers, or use another sampler."
        )
    absent = [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]
    if absent:
        raise ConfigurationError(f"{name} needs {', '.join(absent)}: install it, or use another sampler.")
    _check_arguments(found, settings.arguments)
    try:
        build_sampler(found, settings, space, seed=0)
    except (TypeError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise ConfigurationError(f"{name} does not take {dict(settings.arguments)}: {message}") from None
    return SequenceQMCSampler if found is QMCSampler else found


def build_sampler(kind: type[BaseSampler], settings: SamplerSettings, space: Space, *, seed: int) -> BaseSampler:
    """Return a new sampler whose draws depend on ``seed`` alone."""
    arguments: dict[str, Any] = {"seed": seed, **_DEFAULTS.get(kind.__name__, {}), **settings.arguments}
    if kind is GridSampler:
        grid = {parameter.name: list(range(len(parameter.choices))) for parameter in space.parameters}
        arguments["search_space"] = grid
    if kind is SequenceQMCSampler:
        arguments = {**_DEFAULTS["QMCSampler"], **arguments}
    with warnings.catch_warnings():
        # `group` and others are experimental in Optuna: our choice, not the user's worry.
        warnings.simplefilter("ignore")
        return kind(**arguments)


def _named(name: str) -> type[BaseSampler]:
    known = [entry for entry in optuna.samplers.__all__ if entry.endswith("Sampler") and entry not in _NOT_BY_NAME]
    spellings = {
        spelling: entry for entry in known for spelling in (entry.lower(), entry.removesuffix("Sampler").lower())
    }
    if name.lower() not in spellings:
        raise ConfigurationError(f"Unknown sampler '{name}'; known are {', '.join(known)}.{_nearest(name, spellings)}")
    return getattr(optuna.samplers, spellings[name.lower()])  # type: ignore[no-any-return]  # listed in __all__


def _nearest(name: str, spellings: Mapping[str, str]) -> str:
    """Name the class that a mistyped name comes nearest to, in any spelling."""
    closest = get_close_matches(name.lower(), spellings, n=1, cutoff=0.5)
    return f" Did you mean '{spellings[closest[0]]}'?" if closest else ""


def _check_arguments(kind: type[BaseSampler], arguments: Mapping[str, Any]) -> None:
    """Raise unless every argument exists and is of the kind that is annotated.

    Optuna itself would only notice some of them, in the middle of the search.
    """
    known = {name: entry for name, entry in inspect.signature(kind).parameters.items() if name != "search_space"}
    for name, value in arguments.items():
        if name == "seed":
            raise ConfigurationError(
                f"`seed` of {kind.__name__} follows from the experiment's own `seed`; leave it out."
            )
        if name not in known:
            raise ConfigurationError(
                f"{kind.__name__} has no argument '{name}'; known are {', '.join(sorted(set(known) - {'seed'}))}."
                f"{nearest(name, known)}"
            )
        annotation = str(known[name].annotation)
        parts = [part.strip() for part in annotation.split("|")]
        accepted = [plain for part in parts for plain in _PLAIN_TYPES.get(part, ())]
        if value is None and "None" in parts:
            continue
        if not accepted:
            raise ConfigurationError(
                f"`{name}` of {kind.__name__} takes code, which a file cannot give it; leave it out."
            )
        if not isinstance(value, tuple(accepted)) or (isinstance(value, bool) and bool not in accepted):
            raise ConfigurationError(f"`{name}` of {kind.__name__} must be {annotation}, got {value!r}.")
