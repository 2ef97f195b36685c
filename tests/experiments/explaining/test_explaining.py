"""Explaining a trial, with an analytic evaluator in a real worker."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paretune.experiments.explaining.confusion import compare_answers, read_confusion
from paretune.experiments.explaining.explanation import Explanation, explain_trial, trial_named
from paretune.experiments.explaining.explanation_document import explanation_document
from paretune.experiments.explaining.relaxing import Evidence, estimated_change, relaxations_of
from paretune.experiments.explaining.uniform import nearest_in_size, shortlist, uniform_policies, uniform_trial
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import open_run
from paretune.experiments.terminal.explanation_text import explanation_lines
from paretune.search.front import values_of
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe, stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import RunError
from paretune.spaces.policies.layers import untouched_policy
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from tests.experiments.evaluators import build_gradual, build_stored, refuse
from tests.experiments.funnel_runs import make_run
from tests.experiments.sample_trials import sample_trials
from tests.fakes import ACCURACY, USUAL_CHOICES, GradualEvaluator, layer_specs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def explain(folder: RunFolder, which: str = "knee", build: Callable = build_stored, **options: object) -> Explanation:
    with open_run(folder) as run:
        return explain_trial(run, trial_named(run, which), build=build, **options)


def forget(folder: RunFolder) -> None:
    for file in folder.explained.glob("*"):
        file.unlink()


def candidate(*decided: LayerPolicy) -> Candidate:
    layers = layer_specs(len(decided))
    policy = Policy(tuple((spec.name, each) for spec, each in zip(layers, decided, strict=True)))
    return Candidate(architecture="a" * 64, recipe=Recipe(), policy=policy)


SPARSE_INT8 = LayerPolicy(sparsity=0.5, quantization=Quantization.INT8)
QAT = LayerPolicy(sparsity=0.5, quantization=Quantization.INT8_QAT)


def test_every_compressed_layer_is_let_go_alone() -> None:
    whole = candidate(SPARSE_INT8, LayerPolicy(), QAT)
    first, second = relaxations_of(whole, layer_specs(3))
    assert (first.layer, second.layer) == ("conv0", "conv2")
    assert first.whole.policy["conv0"].is_untouched
    assert first.whole.policy["conv2"] == QAT
    assert second.whole.policy["conv0"] == SPARSE_INT8


def test_a_layer_is_stored_as_float32_on_the_same_weights_only() -> None:
    """Leaving out quantization-aware training is another training; a layer of a format alone is let go as a whole."""
    found = relaxations_of(candidate(SPARSE_INT8, QAT, LayerPolicy(quantization=Quantization.INT8)), layer_specs(3))
    plain = found[0].in_float32
    assert plain is not None
    assert plain.policy["conv0"] == replace(SPARSE_INT8, quantization=Quantization.FLOAT32)
    assert [each.in_float32 for each in found[1:]] == [None, None]


BASE = {"accuracy": 0.98, "loss": 0.1, "size_bytes": 1000.0}
TRAINED = {"accuracy": 0.96, "loss": 0.15, "size_bytes": 100.0}
UNTRAINED = {"accuracy": 0.2, "loss": 2.1, "size_bytes": 110.0}


@pytest.mark.parametrize(
    ("loss", "gives_back"),
    [(1.6, 0.005), (0.1, 0.02), (2.5, 0.0), (0.0, 0.02)],
    ids=["a quarter of the loss", "all of it", "none: it does better without", "more than there was"],
)
def test_what_is_lacking_is_shared_out_by_the_untrained_loss(loss: float, gives_back: float) -> None:
    relaxed = {"accuracy": 0.3, "loss": loss, "size_bytes": 150.0}
    given = estimated_change(trained=TRAINED, base=BASE, untrained=UNTRAINED, relaxed=relaxed, metric=ACCURACY)
    assert given.metric == pytest.approx(gives_back)
    assert given.size_bytes == 40.0
    assert given.evidence is Evidence.ESTIMATE


def test_a_trial_that_lacks_nothing_gets_nothing_back() -> None:
    better = {**TRAINED, "accuracy": 0.99}
    given = estimated_change(trained=better, base=BASE, untrained=UNTRAINED, relaxed=BASE, metric=ACCURACY)
    assert given.metric == 0.0


def test_formats_are_measured_and_what_needs_training_is_estimated(folder: RunFolder) -> None:
    forget(folder)
    explanation = explain(folder)
    trial = explanation.trial
    assert [each.fidelity.layer for each in explanation.layers] == [
        name for name, decided in trial.candidate.policy.items() if not decided.is_untouched
    ]
    layers = GradualEvaluator().layers
    for each, relaxation in zip(explanation.layers, relaxations_of(trial.candidate, layers), strict=True):
        assert each.alone is not None
        assert each.alone.size_bytes > 0
        free = relaxation.whole.stem_digest == trial.candidate.stem_digest or not stages_of(relaxation.whole.policy)
        assert each.alone.evidence is (Evidence.MEASURED if free else Evidence.ESTIMATE)
        if relaxation.in_float32 is not None:
            truth = GradualEvaluator().evaluate(relaxation.in_float32, Rung.FULL, Limit()).values
            assert each.in_float32 is not None
            assert each.in_float32.metric == pytest.approx(truth["accuracy"] - values_of(trial)["accuracy"])


def test_with_training_every_number_is_that_of_the_trained_policy(folder: RunFolder) -> None:
    explanation = explain(folder, train=True)
    relaxations = relaxations_of(explanation.trial.candidate, GradualEvaluator().layers)
    for each, relaxation in zip(explanation.layers, relaxations, strict=True):
        truth = GradualEvaluator().evaluate(relaxation.whole, Rung.FULL, Limit()).values
        assert each.alone is not None
        assert each.alone.evidence in (Evidence.TRAINED, Evidence.MEASURED)
        assert each.alone.size_bytes == truth["size_bytes"] - values_of(explanation.trial)["size_bytes"]
    assert explanation.uniform is not None
    assert explanation.uniform.evidence is Evidence.TRAINED


def test_a_second_call_starts_no_worker_and_gives_the_same(folder: RunFolder) -> None:
    first = explain(folder)
    again = explain(folder, build=refuse)
    assert explanation_document(again) == explanation_document(first)
    json.dumps(explanation_document(again), allow_nan=False)


def test_explaining_leaves_ledger_and_front_as_they_were(folder: RunFolder) -> None:
    with open_run(folder) as run:
        before, front, proxies = run.trials(), run.front().trials, run.ledger.proxies_so_far()
    forget(folder)
    explain(folder)
    with open_run(folder) as run:
        assert (run.trials(), run.front().trials, run.ledger.proxies_so_far()) == (before, front, proxies)


def test_where_the_trained_stages_are_gone_formats_are_estimated_too(folder: RunFolder) -> None:
    """The analytic evaluator has no stages in store, and no steps may be spent on them."""
    forget(folder)
    heard: list[str] = []
    with open_run(folder) as run:
        number = next(
            trial.number
            for trial in run.trials()
            if any(each.in_float32 for each in relaxations_of(trial.candidate, GradualEvaluator().layers))
        )
    explanation = explain(folder, str(number), build=build_gradual, say=heard.append)
    assert {each.in_float32 for each in explanation.layers} == {None}
    assert all(each.alone is not None for each in explanation.layers)
    assert any("may spend 0" in line for line in heard)
    forget(folder)


def test_the_confusion_counts_what_was_lost_and_gained_and_the_new_mistakes() -> None:
    truth = (0, 0, 0, 0, 1, 1, 1, 2)
    before = (0, 0, 0, 1, 1, 1, 0, 2)
    after = (0, 1, 1, 0, 1, 2, 0, 2)
    found = compare_answers(truth, before, after, ("cat", "dog"))
    cat, dog, third = found.classes
    assert (cat.name, cat.rows, cat.right_before, cat.right_after, cat.lost, cat.gained) == ("cat", 4, 3, 2, 2, 1)
    assert (dog.name, dog.lost, dog.gained) == ("dog", 1, 0)
    assert (third.name, third.lost, third.gained) == ("2", 0, 0)
    assert found.mistakes == (("cat", "dog", 2), ("dog", "2", 1))
    assert read_confusion(json.loads(json.dumps(found.to_document()))) == found


def test_the_text_tells_which_rows_went_wrong_and_what_is_only_estimated(folder: RunFolder) -> None:
    text = "\n".join(explanation_lines(explain(folder)))
    assert "newly wrong" in text
    assert "uniform policy of about the same size" in text
    assert "~ estimated from untrained files" in text


def test_a_trial_that_was_never_trained_is_refused_with_its_reason(folder: RunFolder) -> None:
    with open_run(folder) as run:
        with pytest.raises(RunError, match="Trial 0 is the uncompressed model"):
            trial_named(run, "0")
        with pytest.raises(RunError, match="There is no trial 999"):
            trial_named(run, "999")
        refused = next((trial for trial in run.trials() if trial.measurement is None), None)
        if refused is not None:
            with pytest.raises(RunError, match=f"trial {refused.number} of .* is {refused.state}: "):
                trial_named(run, str(refused.number))


def test_another_model_is_refused(folder: RunFolder) -> None:
    from tests.experiments.evaluators import build_other_model

    forget(folder)
    with pytest.raises(RunError, match=r"model: analytic -> ffffffff\.\."):
        explain(folder, build=build_other_model)


def test_uniform_policies_decide_alike_about_every_layer_that_supports_it() -> None:
    settings = SpaceSettings(choices={"sparsity": (0.0, 0.5), "clusters": (None, 16), "quantization": ("int8",)})
    layers = layer_specs(3, (Quantization.FLOAT32, Quantization.INT8))
    found = uniform_policies(build_space(layers, settings))
    assert len(found) == 4
    for wish, policy in found.values():
        assert {(round(each.sparsity, 2), each.clusters) for each in policy.values()} == {
            (wish.sparsity, wish.clusters)
        }


def test_the_shortlist_holds_policies_of_about_the_size() -> None:
    evaluator = GradualEvaluator()
    policies = [
        policy
        for _, policy in uniform_policies(build_space(evaluator.layers, SpaceSettings(choices=USUAL_CHOICES))).values()
    ]
    trial = sample_trials(3)[2]

    def size(policy: Policy) -> float:
        asked = replace(trial.candidate, policy=policy)
        return evaluator.evaluate(asked, Rung.FULL, Limit()).values["size_bytes"]

    wanted = values_of(trial)["size_bytes"]
    chosen = [size(policy) / wanted for policy in shortlist(policies, evaluator.layers, trial)]
    assert min(abs(ratio - 1) for ratio in chosen) < 0.05
    assert max(abs(ratio - 1) for ratio in chosen) < 0.3
    assert max(abs(size(policy) / wanted - 1) for policy in policies) > 3


def test_of_equally_large_files_the_better_one_is_compared_with() -> None:
    sizes = {"near": (1000.0, 2.0), "nearly": (1040.0, 1.0), "far": (1200.0, 0.1)}
    untrained = {name: {"size_bytes": size, "loss": loss} for name, (size, loss) in sizes.items()}
    assert nearest_in_size(untrained, 1000.0) == "nearly"
    assert nearest_in_size({"far": untrained["far"]}, 1000.0) == "far"
    assert nearest_in_size({}, 1000.0) is None


def test_a_finished_uniform_trial_of_the_size_serves() -> None:
    trials = sample_trials(4)
    like, other = trials[1], trials[2]
    close = replace(other, candidate=replace(other.candidate, policy=untouched_policy(layer_specs())))
    digest = close.candidate.policy.digest
    assert close.measurement is not None
    assert like.measurement is not None
    values = {**close.measurement.values, "size_bytes": 1.05 * like.measurement.values["size_bytes"]}
    close = replace(close, measurement=replace(close.measurement, values=values))
    assert uniform_trial([*trials, close], like, [digest]) == close
    assert uniform_trial(trials, like, [digest]) is None or trials[0].candidate.policy.digest == digest
