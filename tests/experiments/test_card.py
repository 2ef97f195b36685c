import re
from dataclasses import replace

from paretune.experiments.exports.card import CardContent, card_text
from paretune.spaces.resampling import Resampled, with_interval
from tests.experiments.sample_trials import sample_trials
from tests.fakes import ACCURACY

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
    },
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


def test_the_card_lists_every_layer_as_asked_and_as_found() -> None:
    rows = re.findall(r"^\| (conv\d) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|", card_text(CARD), flags=re.MULTILINE)
    assert [row[0] for row in rows] == ["conv0", "conv1", "conv2", "conv3"]
    assert [row[3] for row in rows] == [str(decided.quantization) for decided in TRIAL.candidate.policy.values()]
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
