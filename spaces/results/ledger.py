"""The run's one truth about its trials, as the search sees it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import Variant
from paretune.spaces.results.proxy import Proxy
from paretune.spaces.results.resampling import Resampled
from paretune.spaces.results.trial import Trial


class Ledger(Protocol):
    """Keeps every trial of a run.

    One writer at a time. A method returns once its effect survives a crash of the process; whoever is told of a trial
    is told after that.
    """

    def trials(self) -> Sequence[Trial]:
        """Return all trials by number, the baseline first."""

    def open_trial(self, *, candidate: Candidate, rung: Rung, origin: str, parameters: Mapping[str, int]) -> Trial:
        """Add a ``running`` trial under the next number."""

    def reopen_trial(self, number: int) -> Trial:
        """Make an ``interrupted`` trial ``running`` again."""

    def close_trial(self, trial: Trial) -> Trial:
        """Record how a running trial ended: its state, reason, measurement and ``ended``.

        The artifacts of the measurement are kept as files of the trial before the row is written.

        Returns:
            The trial as it reads back, without artifacts.

        Raises:
            RunError: The files cannot be written, for example because the disk is full; the row stays ``running``.
        """

    def refuse(
        self, *, candidate: Candidate, rung: Rung, origin: str, parameters: Mapping[str, int], reason: str
    ) -> Trial:
        """Add a ``refused`` trial, which was never started, under the next number."""

    def record_test(self, number: int, values: Mapping[str, float], resampled: Resampled | None = None) -> None:
        """Add the values measured on the test split to a complete trial, and its metric on resamples of that split."""

    def resamples(self) -> Mapping[int, Resampled]:
        """Return what :meth:`record_test` was given, by number of the trial; of several, the last."""

    def proxies(self) -> Sequence[Proxy]:
        """Return what was measured without training, in the order in which it was kept."""

    def keep_proxy(self, proxy: Proxy) -> None:
        """Add what a policy measures without training."""

    def variants(self) -> Sequence[Variant]:
        """Return the variants beside the baseline's own, in the order in which they were kept."""

    def keep_variant(self, variant: Variant) -> None:
        """Add a variant whose base model has been built."""

    def seconds_searched(self) -> float:
        """Return the wall seconds spent searching so far, over all resumptions."""

    def add_seconds_searched(self, seconds: float) -> None:
        """Add to :meth:`seconds_searched`."""
