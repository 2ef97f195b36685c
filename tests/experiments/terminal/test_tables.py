import re
from dataclasses import replace

import pytest
from rich.console import Console

from paretune.experiments.terminal.front_document import front_document
from paretune.experiments.terminal.tables import facts_table, front_table, layers_table, print_table, refusal_lines
from paretune.experiments.terminal.wording import bytes_text, count_text, policy_summary, seconds_text, value_text
from paretune.spaces.policies.decompositions import NO_WINDOW
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.quantization import Quantization
from tests.experiments.sample_trials import sample_front, sample_trials
from tests.fakes import layer_specs


def rendered(table: object, width: int) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def test_front_table_fits_eighty_columns_and_cuts_no_number() -> None:
    front = sample_front(sample_trials(8))
    lines = rendered(front_table(front, "accuracy"), 80)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    for trial in front.trials:
        assert bytes_text(trial.measurement.values["size_bytes"]) in text  # type: ignore[union-attr]


def test_front_table_marks_one_knee_and_shows_the_baseline_below_the_front() -> None:
    front = sample_front(sample_trials(8))
    lines = rendered(front_table(front, "accuracy"), 120)
    marked = [line for line in lines if line.lstrip().startswith("* ")]
    assert front.knee is not None
    assert [int(line.split()[1]) for line in marked] == [front.knee.number]
    last = [line for line in lines if line.strip()][-1]
    assert last.split()[0] == "base"
    assert "1.0x" in last


def test_front_table_lists_the_smallest_file_first() -> None:
    front = sample_front(sample_trials(8))
    numbers = [
        int(found[1])
        for line in rendered(front_table(front, "accuracy"), 120)
        if (found := re.match(r"[ *]*(\d+) ", line))
    ]
    assert numbers == [trial.number for trial in front.trials]


def test_a_piped_table_keeps_every_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    front = sample_front(sample_trials(8, layers=7))
    print_table(front_table(front, "accuracy"))
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.strip() and not set(line) <= set("─ ")]) == 1 + len(front.points) + 1
    assert all(line == line.rstrip() for line in lines)


def test_an_empty_front_still_shows_the_baseline() -> None:
    lines = rendered(front_table(sample_front(sample_trials(0)), "accuracy"), 80)
    assert any(line.split()[:1] == ["base"] for line in lines)


def test_front_document_has_the_shape_that_scripts_rely_on() -> None:
    front = sample_front(sample_trials(8))
    document = front_document(front)
    assert set(document) == {"baseline", "front"}
    assert document["baseline"]["values"]["latency_ratio"] == 1.0
    assert [set(point) for point in document["front"]] == [{"trial", "knee", "values", "test_values"}] * len(
        front.points
    )
    assert sum(point["knee"] for point in document["front"]) == 1
    sizes = [point["values"]["size_bytes"] for point in document["front"]]
    assert sizes == sorted(sizes)


def test_layers_table_fits_eighty_columns_and_tells_what_applies() -> None:
    lines = rendered(layers_table(layer_specs(3, (Quantization.FLOAT32, Quantization.INT8))), 80)
    assert max(map(len, lines)) <= 80
    assert "float32 int8" in "\n".join(lines)


def test_reasons_that_several_layers_share_are_told_once() -> None:
    reason = "int4 depthwise kernels silently stay float32."
    specs = [
        LayerSpec(
            name=f"depthwise{index}",
            kind="DepthwiseConv2D",
            weight_shape=(3, 3, 8, 1),
            weights=72,
            distinct=72,
            prunable=False,
            refusals={"int4": reason, "sparsity": "tfmot cannot prune it."},
        )
        for index in range(6)
    ]
    assert refusal_lines(specs) == [
        f"depthwise0, depthwise1 and 4 more: no int4: {reason}",
        "depthwise0, depthwise1 and 4 more: no sparsity: tfmot cannot prune it.",
    ]


def test_what_speaks_against_a_sparsity_pattern_is_told_where_it_is_asked_for() -> None:
    (spec,) = layer_specs(1)
    narrow = replace(spec, pattern_refusals={"2:4": "Too narrow."})
    assert refusal_lines([narrow], ["unstructured", "2:4"]) == [f"{spec.name}: no pattern 2:4: Too narrow."]
    assert refusal_lines([narrow]) == refusal_lines([narrow], ["1x4"]) == []


def test_ranks_are_told_of_the_decompositions_that_are_asked_for() -> None:
    window, line, tall = (
        replace(spec, energies=energies, spatial_energies=spatial, weight_shape=shape, refusals=refusals)
        for spec, energies, spatial, shape, refusals in zip(
            layer_specs(3),
            ((0.6, 0.9), (0.7,), ()),
            ((0.5, 0.7, 0.9), (), (0.8,)),
            ((3, 3, 8, 8), (1, 3, 8, 8), (3, 3, 8, 1)),
            ({}, {}, {"rank": "No two kernels are smaller."}),
            strict=True,
        )
    )
    for asked, cells in (
        (("channels",), ("1..2", "1..1", "no")),
        (("spatial",), ("1..3", "1..1", "1..1")),
        (("channels", "spatial"), ("channels 1..2, spatial 1..3", "1..1", "spatial 1..1")),
    ):
        lines = rendered(layers_table([window, line, tall], asked), 120)[-3:]
        for row, cell in zip(lines, cells, strict=True):
            assert f" {cell} " in row
        not_spatial = f"{line.name}: no spatial rank: {NO_WINDOW}"
        told = refusal_lines([window, line, tall], decompositions=asked)
        assert told == ([not_spatial] if "spatial" in asked else [f"{tall.name}: no rank: No two kernels are smaller."])


def test_facts_are_two_columns() -> None:
    lines = rendered(facts_table([("combinations", "12"), ("disk", "1.0 MB")]), 80)
    assert [line.split() for line in lines] == [["combinations", "12"], ["disk", "1.0", "MB"]]


def test_mean_sparsity_weighs_layers_by_their_weights() -> None:
    trial = sample_trials(1)[1]
    policy, assigned = trial.candidate.policy, trial.measurement
    assert assigned is not None
    zeros = sum(row.zeros for row in assigned.fidelity.layers)
    weights = sum(row.weights for row in assigned.fidelity.layers)
    assert policy_summary(trial).sparsity == pytest.approx(zeros / weights)
    plain = sum(decided.sparsity for decided in policy.values()) / len(policy)
    assert policy_summary(trial).sparsity != pytest.approx(plain)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (bytes_text(999), "999 B"),
        (bytes_text(21034), "21.0 kB"),
        (bytes_text(3.4e6), "3.40 MB"),
        (value_text("latency_ratio", 1.0234), "1.02x"),
        (value_text("size_bytes", 21034), "21.0 kB"),
        (value_text("accuracy", 0.98123), "0.9812"),
        (seconds_text(38.4), "38 s"),
        (seconds_text(12 * 60), "12 min"),
        (seconds_text(125 * 60), "2 h 05 min"),
        (count_text(331776), "331,776"),
        (count_text(168**40), "1.0e89"),
    ],
)
def test_numbers_are_spelled_for_people(text: str, expected: str) -> None:
    assert text == expected
