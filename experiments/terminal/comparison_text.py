"""Two policies side by side, for people."""

from collections.abc import Iterator

from rich.table import Table

from paretune.experiments.explaining.two_policies import Comparison, Side
from paretune.experiments.terminal.tables import plain_table
from paretune.experiments.terminal.wording import bytes_text, hyperparameters_text, short_name, value_text
from paretune.spaces.policies.policy import KNOBS, LayerPolicy

_TITLES = {
    "channels": "channels",
    "rank": "rank",
    "sparsity": "zeros",
    "clusters": "clusters",
    "quantization": "format",
}
_UNTOUCHED = LayerPolicy().to_document()


def differences_table(comparison: Comparison) -> Table:
    """Return a row for each layer about which two policies decide otherwise; knobs that are equal stand once."""
    before, after = comparison.before, comparison.after
    table = plain_table()
    table.add_column("layer", overflow="fold")
    knobs = _shown(comparison)
    for knob in knobs:
        table.add_column(_TITLES[knob], no_wrap=True)
    if before.layer_bytes and after.layer_bytes:
        table.add_column("bytes", no_wrap=True)
    for each in comparison.layers:
        cells = [_turned(*(_knob(side, knob) for side in (each.before, each.after))) for knob in knobs]
        if before.layer_bytes and after.layer_bytes:
            cells.append(_turned(_bytes(before, each.layer), _bytes(after, each.layer)))
        table.add_row(each.layer, *cells)
    return table


def comparison_lines(comparison: Comparison) -> list[str]:
    """Return how many layers are alike, and what was measured of both."""
    before, after = comparison.before, comparison.after
    alike = f"{comparison.same} of {comparison.same + len(comparison.layers)} layers are decided alike"
    lines = [f"{alike}; {before.name} -> {after.name}"]
    if before.hyperparameters != after.hyperparameters:
        first, second = (hyperparameters_text(side.hyperparameters) or "none" for side in (before, after))
        lines.append(f"hyperparameters: {first} -> {second}")
    lines += _measured(comparison)
    unmeasured = [side.name for side in (before, after) if not side.values]
    if unmeasured:
        lines.append(f"not measured: {', '.join(unmeasured)}")
    return lines


def _measured(comparison: Comparison) -> Iterator[str]:
    before, after = comparison.before, comparison.after
    for name in dict.fromkeys([after.metric or before.metric, "size_bytes", "latency_ratio"]):
        if name in before.values and name in after.values:
            yield f"{short_name(name)}: {_change(name, before.values[name], after.values[name])}"
        if name in before.test_values and name in after.test_values and not name.endswith("_bytes"):
            yield f"{short_name(name)} on test: {_change(name, before.test_values[name], after.test_values[name])}"
    interval = comparison.metric_change
    if interval is not None:
        verdict = "noise, as far as these samples tell" if interval.covers(0.0) else "more than noise"
        yield f"the change on test lies within {interval.low:+.2g} and {interval.high:+.2g}: {verdict}"


def _change(name: str, before: float, after: float) -> str:
    change = after - before
    sign = "-" if change < 0 else "+"
    return f"{value_text(name, before)} -> {value_text(name, after)} ({sign}{value_text(name, abs(change))})"


def _shown(comparison: Comparison) -> list[str]:
    """Return the knobs that have a column: channels and ranks only where some layer has less of them."""
    decided = [side for each in comparison.layers for side in (each.before, each.after) if side is not None]
    idle = {knob for knob in ("channels", "rank") if all(getattr(each, knob) == _UNTOUCHED[knob] for each in decided)}
    return [knob for knob in KNOBS if knob not in idle]


def _knob(decided: LayerPolicy | None, knob: str) -> str:
    if decided is None:
        return "no such layer"
    value = getattr(decided, knob)
    if knob in ("channels", "sparsity"):
        return f"{value:.1%}"
    return "-" if value is None else str(value)


def _bytes(side: Side, layer: str) -> str:
    return bytes_text(side.layer_bytes[layer]) if layer in side.layer_bytes else "-"


def _turned(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"
