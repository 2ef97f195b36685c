"""What the benchmarks of trials print."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from cases import Case
from figures import Row, spread, table
from paired import Comparison, Difference
from throughput import Family, Throughput
from trial_runs import FlowRun, PlainRun, PlainTrial, TrialFigures

_MB = 1e6
_PARTS = ("prune", "cluster", "quantize", "export", "measure")


def flows_report(name: str, case: Case, compiled: FlowRun, reference: FlowRun, *, timed: int) -> str:
    """Return the figures of both flows of a model; the engine's first ``timed`` trials count for time."""
    first, later, plain = compiled.trials[0], compiled.trials[1:timed], reference.trials
    shared = {trial.number for trial in compiled.trials} & {trial.number for trial in plain}
    on_shared = [[trial for trial in run.trials if trial.number in shared] for run in (compiled, reference)]

    def row(label: str, figure: Callable[[TrialFigures], float], form: str, flows: Any = (later, plain)) -> Row:
        return (label, *(spread((figure(trial) for trial in trials), form) for trials in flows))

    rows = [
        ("", f"compiled ({len(later)} after the first)", f"reference ({len(plain)})"),
        row("wall, s", lambda trial: trial.wall_seconds, ".2f"),
        row("processor, s", lambda trial: trial.processor_seconds, ".2f"),
        row("steps alone, s", lambda trial: trial.step_seconds, ".2f"),
        row("wall / steps", lambda trial: trial.wall_seconds / trial.step_seconds, ".3f"),
        *(row(f"  {part}, s", lambda trial, part=part: trial.seconds[part], ".3f") for part in _PARTS),
        row("latency (apart), s", lambda trial: trial.latency_seconds, ".2f"),
        row("accuracy", lambda trial: trial.accuracy, ".4f", on_shared),
        row("deflated bytes", lambda trial: trial.size_bytes, ",.0f", on_shared),
        ("memory, MB a trial", *(spread(_growths(run), ".1f") for run in (compiled, reference))),
        ("first trial, s", f"{first.wall_seconds:.2f}", f"{plain[0].wall_seconds:.2f}"),
        ("set-up before it, s", f"{compiled.build_seconds:.1f}", f"{reference.build_seconds:.1f}"),
    ]
    steps = "+".join(str(count) for count in case.steps)
    title = f"\n{name}: prune, cluster, quantize in {steps} steps of {case.batch_size}"
    return "\n".join([title, table(rows), *_conclusions(compiled, reference, timed), *_remarks(compiled, reference)])


def _conclusions(compiled: FlowRun, reference: FlowRun, timed: int) -> list[str]:
    first, last = compiled.trials[0], compiled.trials[-1]
    wall = _median(trial.wall_seconds for trial in compiled.trials[1:timed])
    plain_wall = _median(trial.wall_seconds for trial in reference.trials)
    once = first.wall_seconds - wall
    processor = [
        _median(each.processor_seconds for each in run) for run in (compiled.trials[1:timed], reference.trials)
    ]
    before, after, end = (each / _MB for each in (compiled.resident_bytes, first.resident_bytes, last.resident_bytes))
    return [
        f"Wall of a reference trial over a compiled one: {plain_wall / wall:.1f}x "
        f"(processor time {processor[1] / processor[0]:.1f}x)",
        f"The first compiled trial takes {once:.1f} s more than a later one: {once / plain_wall:.2f} reference trials",
        f"Resident memory over {len(compiled.trials) - 1} compiled trials after the first: {end - after:+.0f} MB "
        f"({before:.0f} MB before the first, {after:.0f} after it, {end:.0f} at the end)",
    ]


def _remarks(compiled: FlowRun, reference: FlowRun) -> list[str]:
    failed = {"compiled": compiled.failures, "reference": reference.failures}
    return [
        "Wall covers training, export, accuracy, size and the ledger, not the latency of the file, which is measured\n"
        "for a fixed time. Steps of the reference flow include tracing. Accuracy and bytes are of the policies that\n"
        "both flows ran; "
        f"uncompressed {compiled.baseline_accuracy:.4f}, {compiled.baseline_bytes:,.0f} bytes",
        *(f"Failed in the {flow} flow: {reason}" for flow, reasons in failed.items() for reason in reasons),
        *sorted({f"NOT COMPILED: {trial.fallback}" for trial in compiled.trials if trial.fallback}),
    ]


def plain_report(asked: PlainRun, whole: PlainRun, compiled: FlowRun, *, timed: int) -> str:
    """Return what a trial of plain tfmot takes, beside one of the engine."""
    runs, later = (asked, whole), compiled.trials[1:timed]
    wall = _median(trial.wall_seconds for trial in later)
    processor = _median(trial.processor_seconds for trial in later)

    def row(label: str, figure: Callable[[PlainTrial], float], form: str) -> Row:
        return (label, *(spread(map(figure, run.trials), form) if run.trials else "-" for run in runs))

    rows = [
        ("plain tfmot", f"int8 trained as asked ({len(asked.trials)})", f"in all layers ({len(whole.trials)})"),
        row("wall, s", lambda trial: trial.wall_seconds, ".2f"),
        row("wall over a compiled trial's", lambda trial: trial.wall_seconds / wall, ".1f"),
        row("processor time likewise", lambda trial: trial.processor_seconds / processor, ".1f"),
        row("accuracy", lambda trial: trial.accuracy, ".4f"),
        row("deflated bytes", lambda trial: trial.size_bytes, ",.0f"),
    ]
    failures = (f"Failed with plain tfmot: {reason}" for run in runs for reason in run.failures)
    return "\n".join([table(rows), "Every file is int8 throughout.", *failures])


def paired_report(found: Comparison) -> str:
    """Return whether the flows' accuracies differ by more than seeds make them differ."""
    rows = [
        ("", "mean difference", "95 % interval of the mean", "deviation of one"),
        ("engine - reference flow, same seed", *_columns(found.flows)),
        ("engine - engine, another seed", *_columns(found.seeds)),
    ]
    return (
        f"\n{found.model}: accuracy of {found.flows.pairs} policies, "
        f"compiled {found.compiled:.4f}, reference {found.reference:.4f}\n{table(rows)}\n"
        f"Deflated sizes of a pair differ by at most {found.most_size_difference:.2%}."
    )


def workers_report(found: Sequence[Throughput]) -> str:
    """Return the trials per minute of one worker and of two."""
    per_minute = {(each.workers, each.new_formats): 60 * each.trials / each.seconds for each in found}
    rows = [("trials per minute", "1 worker", "2 workers", "ratio")]
    for is_new, label in ((False, "latency known"), (True, "latency measured each time")):
        one, two = per_minute[1, is_new], per_minute[2, is_new]
        rows.append((label, f"{one:.1f}", f"{two:.1f}", f"{two / one:.2f}x"))
    return (
        f"\nresnet8: {found[0].trials} trials, single-threaded workers, graphs traced before\n{table(rows)}\n"
        "Whoever measures a latency has the machine alone, so the second line cannot reach the first."
    )


def family_report(name: str, case: Case, found: Sequence[Family]) -> str:
    """Return what a stem with its leaves takes, relative to the stem."""
    count = len(found[0].leaves)
    stems, leaves = [family.stem for family in found], [leaf for family in found for leaf in family.leaves]
    ratios = [
        (family.stem.wall_seconds + sum(leaf.wall_seconds for leaf in family.leaves)) / family.stem.wall_seconds
        for family in found
    ]
    rows = [
        (f"{len(found)} families", "median [quartiles]"),
        ("stem, s", spread((stem.wall_seconds for stem in stems), ".2f")),
        ("a leaf, s", spread((leaf.wall_seconds for leaf in leaves), ".3f")),
        *((f"  {part}, s", spread((leaf.seconds[part] for leaf in leaves), ".3f")) for part in ("export", "measure")),
        ("latency (apart), s", spread((trial.latency_seconds for trial in (*stems, *leaves)), ".2f")),
        (f"stem and {count} leaves / stem", spread(ratios, ".3f")),
    ]
    title = f"\n{name}, {sum(case.steps)} steps: a family of a stem and {count} leaves of other number formats"
    return f"{title}\n{table(rows)}"


def _columns(difference: Difference) -> tuple[str, str, str]:
    low, high = difference.mean - difference.half_width, difference.mean + difference.half_width
    return f"{difference.mean:+.4f}", f"{low:+.4f} .. {high:+.4f}", f"{difference.deviation:.4f}"


def _growths(run: FlowRun) -> list[float]:
    sizes = [trial.resident_bytes / _MB for trial in run.trials]
    return [after - before for before, after in pairwise(sizes)] or [float("nan")]


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
