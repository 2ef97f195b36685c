"""What every evaluator promises; a test module supplies the implementation.

Subclass :class:`EvaluatorContract` in a test module, and give it the fixture ``evaluator``.
"""

import math

import pytest

from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, PruneRecipe, StageRecipe, StructureRecipe
from paretune.spaces.errors import LimitReached
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.evaluator import Evaluator, Split
from paretune.spaces.results.objective import FILE_OBJECTIVES
from paretune.spaces.results.resampling import FEWEST_RESAMPLES, RESAMPLES

SHORT_RECIPE = Recipe(
    structure=StructureRecipe(epochs=1.0),
    prune=PruneRecipe(epochs=1.0, frequency=1),
    cluster=ClusterRecipe(epochs=1.0),
    quantize=StageRecipe(epochs=1.0),
)


def candidate_of(evaluator: Evaluator, wish: LayerPolicy) -> Candidate:
    """Return a candidate that decides ``wish`` about every layer, as far as the layers support it."""
    description = evaluator.describe()
    policy, _ = build_space(description.layers, SpaceSettings()).nearest(wish)
    return Candidate(
        architecture=description.architecture,
        recipe=SHORT_RECIPE,
        policy=policy,
        hyperparameters=description.hyperparameters,
    )


PRUNED = LayerPolicy(sparsity=0.5, quantization=Quantization.INT8)
LIGHT = LayerPolicy(quantization=Quantization.INT8)


class EvaluatorContract:
    """The promises of :class:`paretune.spaces.results.evaluator.Evaluator`."""

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        raise NotImplementedError

    def candidate(self, evaluator: Evaluator, wish: LayerPolicy) -> Candidate:
        """Return a candidate that decides ``wish``, as far as the evaluator can evaluate it."""
        return candidate_of(evaluator, wish)

    def test_the_description_names_the_metric_first_and_then_what_every_file_is_measured_by(
        self, evaluator: Evaluator
    ) -> None:
        objectives = evaluator.describe().objectives
        assert next(iter(objectives)) not in FILE_OBJECTIVES
        assert set(FILE_OBJECTIVES) <= set(objectives)
        assert all(name == objective.name for name, objective in objectives.items())

    def test_the_description_is_the_same_every_time(self, evaluator: Evaluator) -> None:
        assert evaluator.describe() == evaluator.describe()

    def test_every_layer_supports_being_left_alone(self, evaluator: Evaluator) -> None:
        layers = evaluator.describe().layers
        assert layers
        for spec in layers:
            spec.check(LayerPolicy())

    def test_the_baseline_is_measured_like_any_trial_but_trains_nothing(self, evaluator: Evaluator) -> None:
        baseline = evaluator.baseline()
        assert set(evaluator.describe().objectives) <= set(baseline.values)
        assert baseline.training_steps == 0
        assert baseline.values["latency_ratio"] == pytest.approx(1.0)
        assert baseline.artifacts["model.tflite"]

    def test_the_layers_of_the_baseline_are_told_as_untouched(self, evaluator: Evaluator) -> None:
        baseline = evaluator.baseline()
        assert [layer.layer for layer in baseline.fidelity.layers] == [
            spec.name for spec in evaluator.describe().layers
        ]
        assert all(layer.requested.is_untouched and layer.deflated_bytes for layer in baseline.fidelity.layers)
        assert baseline.fidelity.is_clean, baseline.fidelity.faults

    def test_a_trial_measures_every_objective_and_reads_every_layer_back(self, evaluator: Evaluator) -> None:
        candidate = self.candidate(evaluator, PRUNED)
        measurement = evaluator.evaluate(candidate, Rung.FULL, Limit())
        assert set(evaluator.describe().objectives) <= set(measurement.values)
        assert all(math.isfinite(value) for value in measurement.values.values())
        assert measurement.training_steps > 0
        assert [layer.layer for layer in measurement.fidelity.layers] == list(candidate.policy)
        assert measurement.fidelity.is_clean, measurement.fidelity.faults
        assert measurement.artifacts["model.tflite"]

    def test_the_same_candidate_gives_the_same_file_whatever_ran_before(self, evaluator: Evaluator) -> None:
        candidate = self.candidate(evaluator, PRUNED)
        first = evaluator.evaluate(candidate, Rung.FULL, Limit())
        evaluator.evaluate(self.candidate(evaluator, LIGHT), Rung.FULL, Limit())
        again = evaluator.evaluate(candidate, Rung.FULL, Limit())
        assert again.artifacts["model.tflite"] == first.artifacts["model.tflite"]
        assert _without_latency(again.values) == _without_latency(first.values)
        assert again.training_steps == first.training_steps

    def test_a_proxy_trains_nothing_and_leaves_no_files(self, evaluator: Evaluator) -> None:
        measurement = evaluator.evaluate(self.candidate(evaluator, PRUNED), Rung.PROXY, Limit())
        assert measurement.training_steps == 0
        assert measurement.artifacts == {}

    def test_a_proxy_measures_all_but_perhaps_the_latency(self, evaluator: Evaluator) -> None:
        measurement = evaluator.evaluate(self.candidate(evaluator, PRUNED), Rung.PROXY, Limit())
        assert set(evaluator.describe().objectives) - {"latency_ratio"} <= set(measurement.values)
        assert all(math.isfinite(value) for value in measurement.values.values())

    @pytest.mark.parametrize("rung", [Rung.PROXY, Rung.FULL])
    def test_the_bytes_of_each_layer_are_told_and_are_a_part_of_the_file(
        self, evaluator: Evaluator, rung: Rung
    ) -> None:
        dense, pruned = (
            evaluator.evaluate(self.candidate(evaluator, wish), rung, Limit()) for wish in (LayerPolicy(), PRUNED)
        )
        for measurement in (dense, pruned):
            layers = measurement.fidelity.layers
            assert all(layer.deflated_bytes > 0 for layer in layers)
            assert sum(layer.deflated_bytes for layer in layers) < measurement.values["size_bytes"]
        for before, after in zip(dense.fidelity.layers, pruned.fidelity.layers, strict=True):
            assert after.deflated_bytes < before.deflated_bytes

    def test_a_compressed_file_is_smaller_than_the_baseline(self, evaluator: Evaluator) -> None:
        measurement = evaluator.evaluate(self.candidate(evaluator, PRUNED), Rung.PROXY, Limit())
        assert measurement.values["size_bytes"] < evaluator.baseline().values["size_bytes"]

    def test_a_limit_on_steps_ends_a_trial(self, evaluator: Evaluator) -> None:
        with pytest.raises(LimitReached):
            evaluator.evaluate(self.candidate(evaluator, PRUNED), Rung.FULL, Limit(training_steps=1))

    def test_a_file_measures_again_as_it_did_at_first(self, evaluator: Evaluator) -> None:
        measurement = evaluator.evaluate(self.candidate(evaluator, LIGHT), Rung.FULL, Limit())
        values = evaluator.remeasure(measurement.artifacts["model.tflite"], Split.VALIDATION)
        assert dict(values) == {name: measurement.values[name] for name in values}
        assert set(_without_latency(measurement.values)) <= set(values)
        assert "latency_ratio" not in values

    def test_an_example_has_as_many_answers_as_samples(self, evaluator: Evaluator) -> None:
        example = evaluator.example(evaluator.baseline().artifacts["model.tflite"])
        assert example.inputs
        assert example.outputs
        assert len({len(array) for array in (*example.inputs.values(), *example.outputs.values())}) == 1
        assert example.operators == tuple(sorted(set(example.operators)))

    @pytest.mark.parametrize("split", list(Split))
    def test_a_file_inspected_closely_measures_as_it_does_otherwise(self, evaluator: Evaluator, split: Split) -> None:
        model = evaluator.baseline().artifacts["model.tflite"]
        inspection = evaluator.inspect(model, split)
        assert dict(inspection.values) == dict(evaluator.remeasure(model, split))
        assert evaluator.inspect(model, split) == inspection

    def test_its_metric_lies_amid_those_of_resamples_or_a_sentence_says_why_there_are_none(
        self, evaluator: Evaluator
    ) -> None:
        inspection = evaluator.inspect(evaluator.baseline().artifacts["model.tflite"], Split.TEST)
        resampled, metric = inspection.resampled, next(iter(evaluator.describe().objectives))
        assert resampled.metric == metric
        assert bool(resampled.values) != bool(resampled.reason)
        if resampled.values:
            assert len(resampled.values) in (RESAMPLES, FEWEST_RESAMPLES)
            assert resampled.interval is not None
            assert resampled.interval.covers(inspection.values[metric])

    def test_every_row_has_an_answer_where_rows_have_classes(self, evaluator: Evaluator) -> None:
        inspection = evaluator.inspect(evaluator.baseline().artifacts["model.tflite"], Split.VALIDATION)
        if inspection.answers is None:
            return
        truth, said = inspection.answers.truth, inspection.answers.said
        assert len(truth) == len(said) == evaluator.describe().samples["validation"]
        if inspection.resampled.metric == "accuracy":
            right = sum(one == other for one, other in zip(truth, said, strict=True)) / len(truth)
            assert right == pytest.approx(inspection.values["accuracy"], abs=1 / len(truth))


def _without_latency(values: object) -> dict[str, float]:
    return {name: value for name, value in dict(values).items() if name != "latency_ratio"}  # type: ignore[call-overload]
