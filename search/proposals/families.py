"""Families: candidates that share a stem, so that all but the first need no training."""

from dataclasses import replace

from paretune.search.proposals.references import Proposal
from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import Quantization
from paretune.spaces.results.trial import Trial, TrialState

#: The origin of trials that were proposed because they need no training.
LEAF = "leaf"

#: Formats that no stage trains for, in the order in which leaves try them: what most often moves the front comes first.
_LEAF_FORMATS = tuple(
    Quantization(name) for name in ("int8", "int4", "int4_block", "float16", "dynamic_int8", "float32", "int16x8")
)


def leaves_of(trial: Trial, problem: SearchProblem) -> tuple[Proposal, ...]:
    """Return policies that need no training after ``trial``, at most as many as the problem asks for.

    Each gives one number format to every layer that is not trained quantized, as far as the choices allow and the stem
    stays the same. A trial that trained nothing itself, or only a little, or is a leaf, has none.
    """
    candidate = trial.candidate
    is_trained = trial.state is TrialState.COMPLETE and trial.rung is Rung.FULL
    if not is_trained or trial.origin == LEAF or not stages_of(candidate.policy):
        return ()
    if not trial.parameters:
        return ()
    found: dict[str, Proposal] = {}
    for form in _LEAF_FORMATS:
        if len(found) == problem.leaves:
            break
        proposal = _with_format(trial, problem, form)
        if proposal.policy != candidate.policy:
            found.setdefault(proposal.policy.digest, proposal)
    return tuple(found.values())


def _with_format(trial: Trial, problem: SearchProblem, form: Quantization) -> Proposal:
    """Give ``form`` to every group of layers that can take it without another training."""
    stem = trial.candidate.stem_digest
    best = Proposal(dict(trial.parameters), trial.candidate.policy)
    for parameter in problem.space.parameters:
        if parameter.knob == "quantization" and form in parameter.choices:
            choice = {**best.choice, parameter.name: parameter.choices.index(form)}
            policy = problem.space.policy(choice)
            # a format with few values can make a cluster count meaningless, and so ask for another stem
            if replace(trial.candidate, policy=policy).stem_digest == stem:
                best = Proposal(choice, policy)
    return best
