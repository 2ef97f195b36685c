"""Who proposes, by the name of the sampler."""

from collections.abc import Mapping, Sequence

from paretune.search.advisers.keras_tuner_oracle import OracleSampler, is_keras_tuner
from paretune.search.advisers.sampler import PolicySampler
from paretune.search.funnel.sampler import FunnelSampler
from paretune.search.proposals.proposer import Proposer
from paretune.search.settings import FUNNEL, SearchProblem
from paretune.spaces.results.proxy import Proxy
from paretune.spaces.results.trial import Trial


def build_proposer(
    problem: SearchProblem,
    trials: Sequence[Trial],
    proxies: Mapping[str, Proxy],
    *,
    baseline: Mapping[str, float],
) -> Proposer:
    """Return the sampler that the problem names, told of the trials so far.

    Args:
        problem: Names the sampler.
        trials: Of the problem's own variant, its uncompressed model first.
        proxies: What has been measured untrained, by digest of the policy; a live view.
        baseline: Values of the baseline.

    Raises:
        ConfigurationError: If there is no such sampler, or it does not fit the problem.
    """
    if problem.sampler.name == FUNNEL:
        return FunnelSampler(problem, trials, proxies, baseline=baseline)
    if is_keras_tuner(problem.sampler.name):
        return OracleSampler(problem, trials)
    return PolicySampler(problem, trials, baseline=baseline)
