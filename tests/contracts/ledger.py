"""What every ledger promises; a test module supplies the implementation.

Subclass :class:`LedgerContract` in a test module, and give it two fixtures: ``ledger``, an empty ledger, and
``reopened``, a function that ends the process of a ledger as a crash would and returns the same run opened again.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import PruneRecipe
from paretune.spaces.candidates.variant import Variant
from paretune.spaces.errors import RunError
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization
from paretune.spaces.results.ledger import Ledger
from paretune.spaces.results.measurement import Fidelity, LayerFidelity, Measurement
from paretune.spaces.results.proxy import Proxy, proxy_of
from paretune.spaces.results.resampling import Resampled
from paretune.spaces.results.trial import Trial, TrialState
from tests.fakes import VariedEvaluator


def a_candidate(sparsity: float = 0.5, *, seed: int = 3) -> Candidate:
    """Return a candidate that sets more than the defaults, so that nothing is lost unnoticed."""
    decided = LayerPolicy(sparsity=sparsity, clusters=16, quantization=Quantization.INT8_QAT)
    return Candidate(
        architecture="a" * 64,
        recipe=Recipe(prune=PruneRecipe(epochs=1.5, pruning_schedule="constant", frequency=2)),
        policy=Policy((("conv", decided), ("head/dense", LayerPolicy(quantization=Quantization.INT4)))),
        seed=seed,
    )


def a_measurement() -> Measurement:
    """Return a measurement with every part filled in."""
    layer = LayerFidelity(
        layer="conv",
        requested=LayerPolicy(sparsity=0.5, clusters=16, quantization=Quantization.INT8_QAT),
        weights=100,
        zeros=52,
        rounding_zeros=2,
        distinct=17,
        distinct_scope="channel",
        stored_as="int8",
        deflated_bytes=61,
        faults=("17 distinct values instead of 16",),
    )
    return Measurement(
        values={"accuracy": 0.1 + 0.2, "size_bytes": 21034.0, "latency_ratio": 1.02},
        training_steps=168,
        seconds={"prune": 1.25, "measure": 0.5},
        fidelity=Fidelity((layer,)),
        details={"latency": {"spread": 0.01, "runs": [1, 2]}, "warnings": ["one"]},
        artifacts={"model.tflite": b"TFL3" * 10},
    )


def a_proxy(sparsity: float = 0.5) -> Proxy:
    """Return what a policy may measure untrained."""
    return proxy_of("a" * 64, Recipe(), a_candidate(sparsity).policy, a_measurement())


def opened(ledger: Ledger, sparsity: float = 0.5) -> Trial:
    """Open one more trial."""
    return ledger.open_trial(
        candidate=a_candidate(sparsity),
        rung=Rung.FULL,
        origin="tpe",
        parameters={"conv.sparsity": 2, "conv.quantization": 0},
    )


def completed(ledger: Ledger, sparsity: float = 0.5) -> Trial:
    """Open one more trial and close it as complete."""
    trial = opened(ledger, sparsity)
    return ledger.close_trial(
        replace(trial, state=TrialState.COMPLETE, measurement=a_measurement(), ended=trial.started + 2.5)
    )


class LedgerContract:
    """The promises of :class:`paretune.spaces.results.ledger.Ledger`."""

    @pytest.fixture
    def ledger(self) -> Ledger:
        raise NotImplementedError

    @pytest.fixture
    def reopened(self) -> Callable[[Ledger], Ledger]:
        raise NotImplementedError

    def test_a_new_ledger_is_empty(self, ledger: Ledger) -> None:
        assert list(ledger.trials()) == []
        assert ledger.seconds_searched() == 0

    def test_trials_count_from_zero_in_the_order_they_were_added(self, ledger: Ledger) -> None:
        first = opened(ledger, 0.1)
        second = ledger.refuse(
            candidate=a_candidate(0.2), rung=Rung.FULL, origin="tpe", parameters={}, reason="estimated too large"
        )
        third = opened(ledger, 0.3)
        assert [first.number, second.number, third.number] == [0, 1, 2]
        assert [trial.number for trial in ledger.trials()] == [0, 1, 2]

    def test_an_opened_trial_is_running_and_keeps_all_that_was_said_about_it(self, ledger: Ledger) -> None:
        trial = opened(ledger)
        assert trial.state is TrialState.RUNNING
        assert trial.candidate == a_candidate()
        assert trial.candidate.digest == a_candidate().digest
        assert (trial.rung, trial.origin) == (Rung.FULL, "tpe")
        assert dict(trial.parameters) == {"conv.sparsity": 2, "conv.quantization": 0}
        assert trial.started > 0
        assert trial.ended == 0
        assert list(ledger.trials()) == [trial]

    def test_a_complete_trial_reads_back_equal_but_without_artifacts(self, ledger: Ledger) -> None:
        closed = completed(ledger)
        assert closed.state is TrialState.COMPLETE
        assert closed.measurement == a_measurement()
        assert not closed.measurement.artifacts
        assert closed.ended == pytest.approx(closed.started + 2.5)
        assert list(ledger.trials()) == [closed]

    def test_measured_values_read_back_to_the_last_bit(self, ledger: Ledger) -> None:
        closed = completed(ledger)
        assert closed.measurement is not None
        assert closed.measurement.values["accuracy"] == 0.1 + 0.2

    @pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.INTERRUPTED])
    def test_a_trial_that_did_not_complete_keeps_its_reason(self, ledger: Ledger, state: TrialState) -> None:
        trial = opened(ledger)
        closed = ledger.close_trial(replace(trial, state=state, reason="the worker was killed", ended=trial.started))
        assert (closed.state, closed.reason, closed.measurement) == (state, "the worker was killed", None)
        assert list(ledger.trials()) == [closed]

    def test_a_refused_trial_was_never_started(self, ledger: Ledger) -> None:
        refused = ledger.refuse(
            candidate=a_candidate(), rung=Rung.FULL, origin="reference", parameters={"conv.sparsity": 1}, reason="big"
        )
        assert (refused.state, refused.reason, refused.origin) == (TrialState.REFUSED, "big", "reference")
        assert dict(refused.parameters) == {"conv.sparsity": 1}
        assert refused.started == 0
        assert refused.measurement is None
        assert list(ledger.trials()) == [refused]

    def test_an_interrupted_trial_runs_again_under_its_number(self, ledger: Ledger) -> None:
        trial = opened(ledger)
        ledger.close_trial(replace(trial, state=TrialState.INTERRUPTED, reason="stopped", ended=trial.started))
        again = ledger.reopen_trial(trial.number)
        assert (again.number, again.state, again.candidate) == (trial.number, TrialState.RUNNING, trial.candidate)
        closed = ledger.close_trial(replace(again, state=TrialState.COMPLETE, measurement=a_measurement(), reason=""))
        assert (closed.state, closed.reason) == (TrialState.COMPLETE, "")
        assert len(ledger.trials()) == 1

    def test_closing_one_trial_leaves_the_others_alone(self, ledger: Ledger) -> None:
        first, second = opened(ledger, 0.1), opened(ledger, 0.2)
        ledger.close_trial(replace(second, state=TrialState.FAILED, reason="no", ended=second.started))
        assert ledger.trials()[0] == first

    def test_resamples_of_the_test_split_are_kept_beside_its_values_and_the_last_ones_count(
        self, ledger: Ledger, reopened: Callable[[Ledger], Ledger]
    ) -> None:
        first, second = completed(ledger, 0.1), completed(ledger, 0.2)
        kept = Resampled(metric="accuracy", values=(0.1 + 0.2, 0.25))
        ledger.record_test(first.number, {"accuracy": 0.3, "accuracy_low": 0.25}, Resampled(metric="accuracy"))
        ledger.record_test(first.number, {"accuracy": 0.3}, kept)
        ledger.record_test(second.number, {"accuracy": 0.3}, Resampled(metric="accuracy", reason="Too slow."))
        again = reopened(ledger)
        assert again.resamples() == {
            first.number: kept,
            second.number: Resampled(metric="accuracy", reason="Too slow."),
        }
        assert dict(again.trials()[first.number].test_values) == {"accuracy": 0.3, "accuracy_low": 0.25}

    def test_values_on_the_test_split_are_added_to_a_complete_trial(self, ledger: Ledger) -> None:
        closed = completed(ledger)
        ledger.record_test(closed.number, {"accuracy": 0.96})
        assert not ledger.resamples()
        [read] = ledger.trials()
        assert dict(read.test_values) == {"accuracy": 0.96}
        assert read.measurement == closed.measurement

    def test_seconds_add_up(self, ledger: Ledger) -> None:
        ledger.add_seconds_searched(1.5)
        ledger.add_seconds_searched(2.25)
        assert ledger.seconds_searched() == pytest.approx(3.75)

    def test_a_new_ledger_has_no_proxies(self, ledger: Ledger) -> None:
        assert list(ledger.proxies()) == []

    def test_proxies_read_back_equal_in_the_order_in_which_they_were_kept(self, ledger: Ledger) -> None:
        kept = [a_proxy(sparsity) for sparsity in (0.5, 0.1, 0.3)]
        for proxy in kept:
            ledger.keep_proxy(proxy)
        assert list(ledger.proxies()) == kept
        assert [proxy.policy.digest for proxy in ledger.proxies()] == [proxy.policy.digest for proxy in kept]
        assert ledger.proxies()[0].layer_bytes == {"conv": 61}
        assert ledger.proxies()[0].seconds == pytest.approx(1.75)

    def test_variants_read_back_equal_in_the_order_in_which_they_were_kept(self, ledger: Ledger) -> None:
        evaluator = VariedEvaluator()
        kept = [
            Variant(values={**values, "recipe.prune.epochs": 2.0}, description=evaluator.describe(values))
            for values in ({"width": 2, "rate": "low"}, {"width": 1, "rate": "high"})
        ]
        assert list(ledger.variants()) == []
        for variant in kept:
            ledger.keep_variant(variant)
        assert list(ledger.variants()) == kept
        assert list(ledger.trials()) == []

    def test_a_proxy_is_no_trial(self, ledger: Ledger) -> None:
        ledger.keep_proxy(a_proxy())
        assert list(ledger.trials()) == []
        assert opened(ledger).number == 0
        assert ledger.seconds_searched() == 0

    def test_everything_survives_the_end_of_the_process(
        self, ledger: Ledger, reopened: Callable[[Ledger], Ledger]
    ) -> None:
        completed(ledger, 0.1)
        ledger.record_test(0, {"accuracy": 0.9})
        failed = opened(ledger, 0.2)
        ledger.close_trial(replace(failed, state=TrialState.FAILED, reason="lost", ended=failed.started + 1))
        ledger.refuse(candidate=a_candidate(0.3), rung=Rung.FULL, origin="tpe", parameters={}, reason="too large")
        ledger.add_seconds_searched(7.0)
        ledger.keep_proxy(a_proxy(0.4))
        before = list(ledger.trials())
        again = reopened(ledger)
        assert list(again.trials()) == before
        assert again.seconds_searched() == pytest.approx(7.0)
        assert list(again.proxies()) == [a_proxy(0.4)]

    def test_a_trial_left_running_is_interrupted_when_the_run_is_opened_again(
        self, ledger: Ledger, reopened: Callable[[Ledger], Ledger]
    ) -> None:
        trial = opened(ledger)
        again = reopened(ledger)
        [read] = again.trials()
        assert (read.number, read.state, read.candidate) == (0, TrialState.INTERRUPTED, trial.candidate)
        assert again.reopen_trial(0).state is TrialState.RUNNING

    def test_numbers_go_on_where_they_stopped(self, ledger: Ledger, reopened: Callable[[Ledger], Ledger]) -> None:
        completed(ledger)
        assert opened(reopened(ledger), 0.2).number == 1


class FullDiskContract:
    """What a ledger promises when a trial's files cannot be written.

    A test module supplies ``ledger`` and ``full_disk``, a context manager under which writing files fails.
    """

    @pytest.fixture
    def ledger(self) -> Ledger:
        raise NotImplementedError

    def test_a_full_disk_is_one_error_and_loses_nothing_else(self, ledger: Ledger, full_disk: Callable) -> None:
        kept = completed(ledger, 0.1)
        trial = opened(ledger, 0.2)
        with full_disk(), pytest.raises(RunError) as caught:
            ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=a_measurement()))
        assert "\n" not in str(caught.value)
        assert ledger.trials()[0] == kept
        assert ledger.trials()[1].state is TrialState.RUNNING
