"""The profile of a run, rebuilt from its ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paretune.experiments.runs.run import Run
from paretune.search.additive.amounts import amount_names
from paretune.search.additive.encoding import Encoding
from paretune.search.additive.profile import Profile, ProfilePlan, read_profile
from paretune.spaces.candidates.recipe import layers_under
from paretune.spaces.policies.building import build_space
from paretune.spaces.results.objective import Direction
from paretune.spaces.results.proxy import Proxy
from paretune.spaces.results.trial import Trial

#: Origins of trials that are only proposed once the profile has been measured.
_AFTER_THE_PROFILE = frozenset({"seed", "learner"})


@dataclass(frozen=True, slots=True)
class RunProfile:
    """What a run's funnel has measured before it trained.

    Attributes:
        plan: What was to be measured.
        profile: What single decisions cost.
        proxies: Everything measured untrained so far, by digest of the policy.
    """

    plan: ProfilePlan
    profile: Profile
    proxies: Mapping[str, Proxy]


def trials_of_main_variant(trials: Sequence[Trial]) -> Sequence[Trial]:
    """Return the trials of the baseline's model and recipe."""
    return [trial for trial in trials if trial.candidate.base == trials[0].candidate.base]


def profile_of(run: Run, trials: Sequence[Trial] | None = None, *, is_over: bool = False) -> RunProfile | None:
    """Return the profile of a run; ``None`` if it has made none, or not all of it yet.

    Args:
        run: Open for reading or for writing.
        trials: As :meth:`Run.trials` returned them; read anew where they are left out.
        is_over: Whether everything is known to have been tried; what is not there could not be measured.
    """
    count, _ = run.ledger.proxies_so_far()
    trials = trials_of_main_variant(run.trials() if trials is None else trials)
    if not count or not trials:
        return None
    layers = layers_under(trials[0].candidate.recipe, run.facts.description.layers)
    space = build_space(layers, run.experiment.space)
    # not the experiment's seed: the command line may have named another
    metric = next(iter(run.facts.description.objectives.values()))
    amounts = amount_names(run.facts.objectives, metric.name)
    plan = ProfilePlan(Encoding(space), seed=trials[0].candidate.seed, amounts=amounts)
    wanted = {policy.digest for policy in plan.policies()}
    is_over = is_over or any(trial.origin in _AFTER_THE_PROFILE for trial in trials)
    if not is_over and count < len(wanted):
        return None
    proxies = {proxy.policy.digest: proxy for proxy in run.ledger.proxies() if proxy.is_of(*trials[0].candidate.base)}
    # A policy that could not be measured is in no ledger: then the trials tell that the funnel has gone on without it.
    if not is_over and not wanted <= proxies.keys():
        return None
    sign = 1 if metric.direction is Direction.MAXIMIZE else -1
    profile = read_profile(plan, proxies, metric.name, sign)
    return None if profile is None else RunProfile(plan, profile, proxies)
