"""The model card that goes with an exported file: short, in Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paretune.experiments.exports.limits import hybrid_layers, limits_text
from paretune.experiments.terminal.wording import (
    bytes_text,
    hyperparameters_text,
    policy_summary,
    short_name,
    value_text,
)
from paretune.search.front import values_of
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.policies.decompositions import SPATIAL
from paretune.spaces.policies.patterns import UNSTRUCTURED
from paretune.spaces.results.evaluator import FileExample
from paretune.spaces.results.file_metadata import FileMetadata
from paretune.spaces.results.objective import FILE_OBJECTIVES, Objective
from paretune.spaces.results.resampling import CONFIDENCE, interval_in
from paretune.spaces.results.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class CardContent:
    """What a card tells.

    Attributes:
        title: Name of the experiment.
        origin: Where the policy comes from, such as ``trial 12 of runs/digits (knee)``.
        trial: What was exported, measured.
        baseline: The uncompressed model.
        metric: The task's metric.
        document: What ``measurement.json`` says.
        example: What the file answers to a few samples.
        metadata: What the file says about itself.
        reproduce: Commands that lead here again.
    """

    title: str
    origin: str
    trial: Trial
    baseline: Trial
    metric: Objective
    document: Mapping[str, Any]
    example: FileExample
    metadata: FileMetadata | None = None
    reproduce: tuple[str, ...] = ()


def card_text(content: CardContent) -> str:
    """Return the card."""
    sections = [
        f"# {content.title}, compressed",
        _summary(content),
        "## Intended use",
        _use(content),
        "## Figures",
        _figures(content),
        "## Data",
        _data(content),
        "## Policy and fidelity",
        _policy_table(content.trial),
        "`zeros` and `distinct` are read from the file itself. " + _faults(content.trial),
        *_recovery(content.trial.candidate),
        "## How it was measured",
        _measured(content),
        "## Limits",
        limits_text(content.trial, content.document, content.example),
        "## How to run it",
        "`python smoke_test.py` runs the file on the recorded samples of `example.npz`; it needs nothing but "
        "`pip install ai-edge-litert numpy`. On your own:",
        _SNIPPET,
    ]
    if "model_data.h" in content.document["files"]:
        micro = (
            "which does not run this one, see the limits."
            if hybrid_layers(content.trial)
            else f"to be run with the operators {', '.join(content.example.operators) or 'unknown'}."
        )
        sections.append(f"`model_data.cc` and `.h` hold it as a C array for TensorFlow Lite Micro, {micro}")
    if content.reproduce:
        sections += ["## How to get here again", "```\n" + "\n".join(content.reproduce) + "\n```"]
    return "\n\n".join(sections) + "\n"


def _summary(content: CardContent) -> str:
    summary = policy_summary(content.trial)
    values = hyperparameters_text(content.trial.candidate.hyperparameters)
    return (
        f"`model.tflite` is the model of experiment {content.title}, compressed by Paretune: {content.origin}. "
        + ("" if summary.channels == "-" else f"Layers keep {summary.channels} of their channels. ")
        + ("" if summary.ranks == "-" else _ranks(content.trial, summary.ranks))
        + f"{summary.sparsity:.0%} of its weights are zero; clusters {summary.clusters}; formats {summary.formats}."
        + (f" Its hyperparameters were searched too: {values}." if values else "")
        + _pattern(content.trial)
    )


def _ranks(trial: Trial, ranks: str) -> str:
    is_spatial = trial.candidate.recipe.structure.decomposition == SPATIAL
    how = ", those of a window as a column of it and a row of it" if is_spatial else ""
    return f"Kernels of rank {ranks} are stored as two{how}. "


def _pattern(trial: Trial) -> str:
    pattern = trial.candidate.recipe.prune.pattern
    if pattern == UNSTRUCTURED or not any(decided.sparsity > 0 for decided in trial.candidate.policy.values()):
        return ""
    return f" Its zeros keep to the pattern {pattern} in every layer that it fits."


def _use(content: CardContent) -> str:
    metadata = content.metadata or FileMetadata()
    said = metadata.description or (
        "The experiment file does not say what the model is for; `metadata: {description: ...}` would put it here and "
        "into the file."
    )
    lines = [said, ""]
    lines += [f"- Takes `{name}`: {_ports(array)}" for name, array in content.example.inputs.items()]
    lines += [f"- Gives `{name}`: {_ports(array)}" for name, array in content.example.outputs.items()]
    for name, each in metadata.normalization.items():
        mean, std = (" ".join(f"{number:g}" for number in numbers) for numbers in (each.mean, each.std))
        lines.append(f"- Raw values of {_port(name, 'the input')} become (value - mean) / std; mean {mean}, std {std}.")
    for name, labels in metadata.labels.items():
        lines.append(f"- The numbers of {_port(name, 'the output')} stand for: {', '.join(labels)}.")
    told = {"Author": metadata.author, "Licence": metadata.license, "Version": metadata.version}
    lines += [f"- {what}: {text}" for what, text in told.items() if text]
    return "\n".join(lines)


def _ports(array: Any) -> str:
    return f"{array.dtype}, shape {' x '.join(str(size) for size in (1, *array.shape[1:]))}."


def _port(name: str, only: str) -> str:
    return f"`{name}`" if name else only


def _data(content: CardContent) -> str:
    samples = ", ".join(f"{count:,} {split}" for split, count in content.document["samples"].items())
    data = content.document["fingerprint"].get("data", "")
    lines = [
        f"- Samples: {samples or 'not recorded'}.",
        "- The validation split chose among trials, so its figures flatter a little; the test split was not used in "
        "the search.",
    ]
    if data:
        lines.append(f"- Digest of the data: `{data}`.")
    return "\n".join(lines)


def _figures(content: CardContent) -> str:
    metric = content.metric.name
    here, before = values_of(content.trial), values_of(content.baseline)
    tests = (_with_interval(trial.test_values, metric) for trial in (content.baseline, content.trial))
    rows = [
        (f"{metric} (validation)", _at(before, metric), _at(here, metric)),
        (f"{metric} (test)", *tests),
    ]
    rows += [
        (label, _at(before, name), _at(here, name))
        for label, name in (
            ("size, deflated", "size_bytes"),
            ("size, raw", "raw_bytes"),
            ("entropy bound", "entropy_bytes"),
            ("latency", "latency_ratio"),
            ("memory for activations", "arena_bytes"),
            ("multiply-accumulates", "macs"),
            ("energy (estimate)", "energy_nj"),
            *((short_name(name), name) for name in here if name not in FILE_OBJECTIVES),
        )
        if name in here and name != metric
    ]
    if before.get("size_bytes") and here.get("size_bytes"):
        rows.append(("times smaller", "", f"{before['size_bytes'] / here['size_bytes']:.1f}x"))
    return _table(("", "baseline (float32)", "this file"), rows)


def _at(values: Mapping[str, float], name: str) -> str:
    return value_text(name, values[name]) if name in values else "not measured"


def _with_interval(values: Mapping[str, float], metric: str) -> str:
    interval = interval_in(values, metric)
    between = (
        "" if interval is None else f" ({value_text(metric, interval.low)} to {value_text(metric, interval.high)})"
    )
    return _at(values, metric) + between


def _policy_table(trial: Trial) -> str:
    found = {row.layer: row for row in (trial.measurement.fidelity.layers if trial.measurement else ())}
    rows = []
    for layer, decided in trial.candidate.policy.items():
        row = found.get(layer)
        clusters = "free" if decided.clusters is None else str(decided.clusters)
        achieved = ("-", "-", "-")
        if row is not None:
            achieved = (f"{row.zeros / row.weights:.1%}", f"{row.distinct} per {row.distinct_scope}", row.stored_as)
        rows.append(
            (
                layer,
                f"{decided.channels:.1%}",
                "full" if decided.rank is None else str(decided.rank),
                f"{decided.sparsity:.1%}",
                clusters,
                str(decided.quantization),
                *achieved,
            )
        )
    return _table(
        ("layer", "channels", "rank", "sparsity", "clusters", "format", "zeros", "distinct", "stored as"), rows
    )


def _faults(trial: Trial) -> str:
    faults = trial.measurement.fidelity.faults if trial.measurement else ()
    return " ".join(("Not as asked:", *faults)) if faults else "Every layer got what the policy asked for."


def _recovery(candidate: Candidate) -> list[str]:
    """Return what won accuracy back beside plain training, as one paragraph; nothing where nothing did."""
    recipe, sentences = candidate.recipe, []
    for stage in stages_of(candidate.policy):
        settings = getattr(recipe, stage)
        if settings.distillation > 0:
            sentences.append(
                f"Stage `{stage}` was taught by the uncompressed model: {settings.distillation:.0%} of its loss, "
                f"temperature {settings.temperature:g}."
            )
    if recipe.export.equalise:
        sentences.append("Neighbouring `int8` layers were equalised before they were rounded.")
    if recipe.export.correct_bias:
        sentences.append("Biases make up for the mean error of rounded weights.")
    return [" ".join(sentences)] if sentences else []


def _measured(content: CardContent) -> str:
    document = content.document
    machine = ", ".join(f"{name} {_plain(value)}" for name, value in document.get("machine", {}).items())
    versions = ", ".join(f"{package} {version}" for package, version in document.get("versions", {}).items())
    lines = [
        f"- {content.metric.name} is measured on this file by its interpreter, not on the Keras model.",
        "- Size is that of the deflated file, as in `model.zip`; latency is the ratio to the baseline, called in turn "
        "with it.",
        *_what_the_interval_is(content),
        f"- Machine: {machine or 'not recorded'}.",
        f"- Versions: {versions or 'not recorded'}.",
        f"- SHA-256 of `model.tflite`: `{document['sha256']}`; {bytes_text(document['file_bytes'])}.",
        "- Everything in numbers: `measurement.json`.",
    ]
    if document["metadata"] is not None:
        lines.insert(2, f"- {document['metadata']['note']}")
    return "\n".join(lines)


def _what_the_interval_is(content: CardContent) -> list[str]:
    if interval_in(content.trial.test_values, content.metric.name) is None:
        return []
    return [f"- In brackets: what it lies within for {CONFIDENCE:.0%} of resamples of the test samples (bootstrap)."]


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _table(header: tuple[str, ...], rows: list[Any]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


#: Inputs and outputs go by signature name: their order in the file is not the model's.
_SNIPPET = """\
```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path="model.tflite")
run = interpreter.get_signature_runner()
inputs = {
    name: np.zeros([size if size > 0 else 1 for size in detail["shape_signature"]], detail["dtype"])
    for name, detail in run.get_input_details().items()  # put your samples here
}
interpreter.reset_all_variables()  # before every sample: recurrent layers remember the one before
print({name: value.shape for name, value in run(**inputs).items()})
```"""
