"""A plan in words."""

from paretune.experiments.planning import Plan
from paretune.experiments.terminal.wording import bytes_text, count_text, seconds_text, short_name, value_text


def plan_rows(plan: Plan) -> list[tuple[str, str]]:
    """Return a plan for people."""
    baseline = plan.baseline["size_bytes"]
    rows = [
        ("layers", f"{plan.layers} can be decided about"),
        ("space", f"{plan.parameters} knobs, {count_text(plan.combinations)} combinations"),
        *([("variants", f"{count_text(plan.variants)} of model and recipe")] if plan.variants > 1 else []),
        ("objectives", ", ".join(plan.objectives)),
        *(("target", note) for note in plan.notes),
        (
            "baseline",
            ", ".join(f"{short_name(name)} {value_text(name, value)}" for name, value in plan.baseline.items()),
        ),
        ("sizes in reach", _sizes_text(plan, baseline)),
        ("training", _training_text(plan)),
        ("cost of a trial", _cost_text(plan)),
        ("disk", _disk_text(plan)),
    ]
    for bound in plan.constraints:
        value = value_text(bound["objective"], bound["bound"])
        rows.append(("constraint", f"{bound['constraint']}: {bound['objective']} {bound['kind']} {value}"))
    if plan.constraints:
        rows.append(("satisfiable", plan.unsatisfiable or "nothing speaks against it before training"))
    return rows


def _sizes_text(plan: Plan, baseline: float) -> str:
    if plan.smallest_bytes is None:
        return "unknown: no policy could be built without training"
    smallest = f"about {bytes_text(plan.smallest_bytes)} ({baseline / plan.smallest_bytes:.1f}x smaller)"
    largest = "" if plan.largest_bytes is None else f" to {bytes_text(plan.largest_bytes)}"
    return f"{smallest}{largest}, deflated, measured untrained; baseline {bytes_text(baseline)}"


def _disk_text(plan: Plan) -> str:
    each = "unknown" if plan.disk_bytes is None else f"{bytes_text(plan.disk_bytes)} for each trial"
    return f"{each}; trained stages that later trials start from, up to {bytes_text(plan.stage_bytes)}"


def _training_text(plan: Plan) -> str:
    stages = " + ".join(f"{steps} {stage}" for stage, steps in plan.training_steps.items())
    most = sum(plan.training_steps.values())
    return f"up to {most} steps a trial ({stages}); a stage that a policy does not use is skipped"


def _cost_text(plan: Plan) -> str:
    probe = "unknown time" if plan.probe_seconds is None else f"up to {max(plan.probe_seconds, 0.1):.1f} s"
    around = f"{probe} to convert and measure"
    if plan.trial_seconds is None:
        return f"{around}, and training: unknown before this run's first trained trial"
    return f"{seconds_text(plan.trial_seconds)} (median of {plan.trained_before} trained trials of this run), {around}"
