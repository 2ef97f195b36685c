"""The plug-in point of the search: who decides which policy is tried next."""

from typing import Protocol

from paretune.search.proposals.references import Proposal
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.trial import Trial


class Proposer(Protocol):
    """Proposes policies that no trial has had yet.

    Proposals are a function of the problem, the trials and the proxies: one that is built anew from them goes on as
    if it had not stopped.
    """

    @property
    def references(self) -> tuple[Proposal, ...]:
        """Policies to try before anything is asked."""

    def tell(self, trial: Trial) -> None:
        """Take note of a trial, or of how one that was told before has ended."""

    def knows(self, digest: str) -> bool:
        """Return whether a trial has had the policy of this digest."""

    def wanted(self) -> tuple[Policy, ...]:
        """Return policies whose proxies it wants to know before it is asked next; again and again, until nothing."""

    def leaves(self, trial: Trial) -> tuple[Proposal, ...]:
        """Return policies worth trying that need no training after ``trial``."""

    def ask(self) -> Proposal | None:
        """Return a policy that no trial has had, or ``None`` when the space has no other."""

    def close(self) -> None:
        """Let go of whatever it holds, such as a process."""
