import re
from dataclasses import replace

from paretune.experiments.exports.card import CardContent, card_text
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.stage_recipes import ExportRecipe, PruneRecipe, StructureRecipe
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.file_metadata import ONLY, FileMetadata, Normalization
from paretune.spaces.results.resampling import Resampled, with_interval
from tests.experiments.sample_trials import sample_trials
from tests.fakes import ACCURACY
from tests.tiny_tflite import example_of_sum_and_product

BASELINE, TRIAL = sample_trials(2)[:2]
CARD = CardContent(
    title="digits",
    origin="trial 1 of runs/digits (knee)",
    trial=TRIAL,
    baseline=BASELINE,
    metric=ACCURACY,
    document={
        "sha256": "0" * 64,
        "file_bytes": 12345,
        "samples": {"train": 100, "validation": 50, "test": 50},
        "machine": {"cpu": "a CPU", "threads": 1, "features": ["avx2", "fma"]},
        "versions": {"tensorflow": "2.21.0"},
        "fingerprint": {"data": "d1635"},
        "files": {"model_data.h": "0" * 64},
        "metadata": None,
    },
    example=example_of_sum_and_product(),
    reproduce=("paretune search digits.yaml",),
)


def test_the_card_tells_figures_beside_the_baseline() -> None:
    lines = card_text(CARD).splitlines()
    assert TRIAL.measurement is not None
    assert BASELINE.measurement is not None
    now, before = TRIAL.measurement.values["accuracy"], BASELINE.measurement.values["accuracy"]
    assert f"| accuracy (validation) | {before:.4g} | {now:.4g} |" in lines
    assert f"| accuracy (test) | {before - 0.005:.4g} | {now - 0.005:.4g} |" in lines
    assert "| times smaller |  | 8.9x |" in lines


def test_the_card_tells_what_the_metric_lies_within() -> None:
    resampled = Resampled(metric="accuracy", values=(0.5, 0.9))
    tested = replace(TRIAL, test_values=with_interval({"accuracy": 0.625}, resampled))
    text = card_text(replace(CARD, trial=tested))
    assert "| 0.625 (0.51 to 0.89) |" in text
    assert "95% of resamples" in text
    assert "resamples" not in card_text(CARD)


def test_the_card_names_the_pattern_of_the_zeros_where_there_are_any() -> None:
    recipe = Recipe(prune=PruneRecipe(pattern="2:4"))
    patterned = replace(TRIAL, candidate=replace(TRIAL.candidate, recipe=recipe))
    assert any(decided.sparsity > 0 for decided in TRIAL.candidate.policy.values())
    assert "keep to the pattern 2:4" in card_text(replace(CARD, trial=patterned))
    dense = Policy(tuple((name, LayerPolicy()) for name, _ in TRIAL.candidate.policy.items()))
    unpruned = replace(patterned, candidate=replace(patterned.candidate, policy=dense))
    for trial in (TRIAL, unpruned):
        assert "pattern" not in card_text(replace(CARD, trial=trial))


def test_the_card_lists_every_layer_as_asked_and_as_found() -> None:
    rows = re.findall(
        r"^\| (conv\d) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|", card_text(CARD), flags=re.MULTILINE
    )
    assert [row[0] for row in rows] == ["conv0", "conv1", "conv2", "conv3"]
    assert [row[5] for row in rows] == [str(decided.quantization) for decided in TRIAL.candidate.policy.values()]
    assert "Every layer got what the policy asked for." in card_text(CARD)


def test_the_card_says_how_it_was_measured_and_how_to_run_it() -> None:
    text = card_text(CARD)
    assert "100 train, 50 validation, 50 test" in text
    assert "features avx2 fma" in text
    assert "get_signature_runner" in text
    assert "paretune search digits.yaml" in text


def test_what_was_not_measured_is_said_to_be_so() -> None:
    text = card_text(replace(CARD, trial=replace(TRIAL, test_values={})))
    assert "| not measured |" in text


def test_the_snippet_on_the_card_is_valid_python() -> None:
    snippet = card_text(CARD).split("```python\n")[1].split("```")[0]
    compile(snippet, "card.md", "exec")


def test_the_card_says_what_the_file_takes_and_gives() -> None:
    text = card_text(CARD)
    assert "- Takes `left`: float32, shape 1 x 4." in text
    assert "- Gives `output_1`: float32, shape 1 x 4." in text
    assert "The experiment file does not say what the model is for" in text


def test_the_card_repeats_the_metadata() -> None:
    metadata = FileMetadata(
        description="Adds and multiplies.",
        license="MIT",
        labels={"output_0": ("a", "b", "c", "d")},
        normalization={ONLY: Normalization(mean=(127.5,), std=(64.0,))},
    )
    text = card_text(replace(CARD, metadata=metadata))
    assert "Adds and multiplies." in text
    assert "- Licence: MIT" in text
    assert "- The numbers of `output_0` stand for: a, b, c, d." in text
    assert "- Raw values of the input become (value - mean) / std; mean 127.5, std 64." in text


def test_the_card_tells_which_kernels_are_two() -> None:
    policy = Policy((("conv0", LayerPolicy(rank=4)), ("conv1", LayerPolicy(rank=9))))
    texts = []
    for how in ("channels", "spatial"):
        recipe = Recipe(structure=StructureRecipe(decomposition=how))
        trial = replace(TRIAL, candidate=replace(TRIAL.candidate, recipe=recipe, policy=policy))
        texts.append(card_text(replace(CARD, trial=trial)))
    assert "Kernels of rank 4..9 are stored as two. " in texts[0]
    assert "stored as two, those of a window as a column of it and a row of it. " in texts[1]
    assert "stored as two" not in card_text(CARD)


def with_formats(*formats: Quantization) -> CardContent:
    policy = Policy(tuple((f"conv{n}", LayerPolicy(quantization=each)) for n, each in enumerate(formats)))
    return replace(CARD, trial=replace(TRIAL, candidate=replace(TRIAL.candidate, policy=policy)))


def test_the_card_names_the_layers_that_microcontrollers_do_not_run() -> None:
    text = card_text(with_formats(Quantization.INT8, Quantization.INT4, Quantization.FLOAT32))
    assert "does not run int4 weights beside float activations (conv1)" in text
    assert "TensorFlow Lite Micro, which does not run this one" in text
    text = card_text(with_formats(Quantization.INT8, Quantization.INT8_QAT, Quantization.FLOAT32))
    assert "does not run" not in text
    assert "to be run with the operators ADD, MUL." in text


def test_the_card_tells_what_won_accuracy_back_and_nothing_of_what_was_off() -> None:
    recipe = Recipe(
        prune=PruneRecipe(distillation=0.5, temperature=2.0), export=ExportRecipe(equalise=True, correct_bias=True)
    )
    policy = Policy((("conv0", LayerPolicy(sparsity=0.5)),))
    trial = replace(TRIAL, candidate=replace(TRIAL.candidate, recipe=recipe, policy=policy))
    text = card_text(replace(CARD, trial=trial))
    assert "Stage `prune` was taught by the uncompressed model: 50% of its loss, temperature 2." in text
    assert "Neighbouring `int8` layers were equalised before they were rounded." in text
    assert "Biases make up for the mean error of rounded weights." in text
    assert not any(word in card_text(CARD) for word in ("taught", "equalised", "mean error"))
    untrained = replace(trial, candidate=replace(trial.candidate, policy=Policy((("conv0", LayerPolicy()),))))
    assert "taught" not in card_text(replace(CARD, trial=untrained))
