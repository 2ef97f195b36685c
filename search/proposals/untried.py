"""Policies at random that no trial has had yet."""

import random
from collections.abc import Callable, Mapping
from itertools import product

from paretune.search.proposals.references import Proposal
from paretune.spaces.policies.space import Space

#: Random draws for a policy that is not known yet.
MOST_DRAWS = 1_000
#: Up to this many combinations a space is then gone through one by one; above it counts as exhausted.
MOST_LISTED = 20_000


def draw_untried(space: Space, knows: Callable[[str], bool], draws: random.Random) -> Proposal | None:
    """Return a policy at random whose digest is not known, or ``None`` when none is left."""
    names = [parameter.name for parameter in space.parameters]
    for _ in range(MOST_DRAWS):
        choice = {parameter.name: draws.randrange(len(parameter.choices)) for parameter in space.parameters}
        policy = space.policy(choice)
        if not knows(policy.digest):
            return Proposal(choice, policy)
    if space.cardinality > MOST_LISTED:
        return None
    for indices in product(*(range(len(parameter.choices)) for parameter in space.parameters)):
        choice = dict(zip(names, indices, strict=True))
        policy = space.policy(choice)
        if not knows(policy.digest):
            return Proposal(choice, policy)
    return None


def draw_neighbour(
    space: Space, choice: Mapping[str, int], knows: Callable[[str], bool], draws: random.Random
) -> Proposal | None:
    """Return a policy at random that is not known and differs from ``choice`` in one parameter, or ``None``."""
    changes = [
        (parameter.name, index)
        for parameter in space.parameters
        for index in range(len(parameter.choices))
        if index != choice[parameter.name]
    ]
    draws.shuffle(changes)
    for name, index in changes:
        changed = {**choice, name: index}
        policy = space.policy(changed)
        if not knows(policy.digest):
            return Proposal(changed, policy)
    return None
