"""What the page of a search says in MLflow, in Markdown: the front, what it cost, and what to do next."""

import shlex
from collections.abc import Mapping
from typing import Any

from paretune.experiments.terminal.tables import metric_cell, times_smaller
from paretune.experiments.terminal.wording import policy_summary, short_name, value_text
from paretune.experiments.tracking.content import LONGEST_TAG, RunContent
from paretune.search.front import Front, values_of
from paretune.spaces.results.trial import Trial

_ALWAYS_SHOWN = ("size_bytes", "latency_ratio")


def summary_text(content: RunContent) -> str:
    """Return the description of the parent run; rows that would make it longer than a tag may be are left to a file."""
    folder = shlex.quote(content.tags.get("run_folder", content.name))
    counts = content.counts
    said = [
        f"**{content.name}**: {counts['complete_trials']} trials complete, {counts['front_size']} on the front; "
        f"{counts['refused_trials']} policies refused untrained, {counts['stopped_trials']} stopped early, "
        f"{counts['failed_trials']} failed."
    ]
    if content.hypervolumes:
        said[0] += f" Hypervolume {content.hypervolumes[-1][1]:.4g}."
    end = [f"{content.metric} is validation/test; size is the deflated file; latency is the ratio to the baseline."]
    if content.profile is not None:
        end.append(f"Profile: {content.profile['additivity']['sentence']}.")
    end += [
        "Next:",
        "- these files as child runs: filter `tags.pareto = 'true'`, sort by `metrics.size_bytes`; "
        "`tags.knee = 'true'` is the compromise",
        f"- ship one: `paretune export {folder} --pick knee --register {_word(content.name)} --alias champion`",
        f"- ask again, nothing is run: `paretune front {folder} --max-size 60kB --max-drop 0.01`",
    ]
    room = LONGEST_TAG - sum(len(part) + 2 for part in (*said, *end)) - 100
    table = _table(content.front, content.metric, room)
    return "\n\n".join([*said, table, *end[:-4], "\n".join(end[-4:])])


def front_table_document(front: Front, metric: str) -> dict[str, Any]:
    """Return the front as MLflow shows tables: ``{"columns": [...], "data": [[...], ...]}``."""
    names = _names(front, metric)
    rows = []
    for point in front.points:
        values, test = values_of(point.trial), point.trial.test_values
        summary = policy_summary(point.trial)
        rows.append(
            [
                point.trial.number,
                point.knee,
                *(values.get(name) for name in names),
                test.get(metric),
                summary.channels,
                summary.ranks,
                summary.sparsity,
                summary.clusters,
                summary.formats,
            ]
        )
    return {
        "columns": ["trial", "knee", *names, f"test_{metric}", "channels", "rank", "zeros", "clusters", "formats"],
        "data": rows,
    }


def _names(front: Front, metric: str) -> list[str]:
    return list(dict.fromkeys([metric, *_ALWAYS_SHOWN, *(objective.name for objective in front.objectives)]))


def _table(front: Front, metric: str, room: int) -> str:
    if not front.points:
        return "No trial is on the front yet." if front.baseline is None else _rows(front, metric, [front.baseline])
    lines = _rows(front, metric, [*([front.baseline] if front.baseline else []), *front.trials]).splitlines()
    shown: list[str] = []
    length = 0
    for line in lines:
        length += len(line) + 1
        if length > room:
            more = f"{len(lines) - len(shown)} more rows in `front.csv`"
            return "\n".join([*shown, f"\n{more}."])
        shown.append(line)
    return "\n".join(shown)


def _rows(front: Front, metric: str, trials: list[Trial]) -> str:
    names = [name for name in _names(front, metric) if name != metric]
    knee = front.knee
    lines = [["trial", metric, *map(short_name, names), "smaller", "channels", "rank", "zeros", "clusters", "formats"]]
    lines.append(["---"] * len(lines[0]))
    for trial in trials:
        values = values_of(trial)
        is_baseline = trial is front.baseline
        summary = policy_summary(trial)
        number = "baseline" if is_baseline else f"{trial.number}"
        lines.append(
            [
                f"**{number} (knee)**" if trial is knee else number,
                metric_cell(metric, trial),
                *(_cell(values, name) for name in names),
                times_smaller(front.baseline, values.get("size_bytes")),
                *(
                    ["-", "-", "-", "-", "float32"]
                    if is_baseline
                    else [
                        summary.channels,
                        summary.ranks,
                        f"{summary.sparsity:.0%}",
                        summary.clusters,
                        summary.formats,
                    ]
                ),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(values: Mapping[str, float], name: str) -> str:
    return value_text(name, values[name]) if name in values else "-"


def _word(name: str) -> str:
    """Return a name as the registry takes it."""
    return shlex.quote(name.replace("/", "-").replace(":", "-"))
