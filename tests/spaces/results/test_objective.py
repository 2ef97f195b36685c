import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.objective import (
    FILE_OBJECTIVES,
    Bound,
    Constraint,
    Direction,
    Objective,
    read_constraints,
    read_quantity,
)

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE


def test_costs_are_smaller_where_the_value_is_better() -> None:
    assert Objective(name="accuracy", direction=UP).cost(0.9) == -0.9
    assert Objective(name="loss", direction=DOWN).cost(0.9) == 0.9


@given(st.floats(0.1, 3), st.floats(-0.024, 0.024))
def test_values_closer_than_half_the_tolerance_to_a_step_tie(step: float, off: float) -> None:
    latency = FILE_OBJECTIVES["latency_ratio"]
    on_a_step = round(step / 0.05) * 0.05
    assert latency.cost(on_a_step + off) == latency.cost(on_a_step)


@pytest.mark.parametrize(
    ("bound", "limit", "direction", "feasible", "broken"),
    [
        (Bound.MAX, 60.0, DOWN, 60.0, 60.1),
        (Bound.MAX, 0.8, UP, 0.7, 0.9),
        (Bound.MIN, 0.9, UP, 0.9, 0.89),
        (Bound.MIN, 10.0, DOWN, 11.0, 9.0),
        # a worsening from the baseline (100), whichever way is better
        (Bound.DROP, 5.0, UP, 95.0, 94.9),
        (Bound.DROP, 5.0, DOWN, 105.0, 105.1),
        (Bound.DROP, 5.0, UP, 120.0, 90.0),
        # a multiple of the baseline
        (Bound.RATIO, 0.25, DOWN, 25.0, 25.1),
        (Bound.RATIO, 0.9, UP, 90.0, 89.0),
    ],
)
def test_a_bound_holds_up_to_its_value_and_no_further(
    bound: Bound, limit: float, direction: Direction, feasible: float, broken: float
) -> None:
    constraint = Constraint(objective="x", bound=bound, value=limit)
    assert constraint.violation(feasible, baseline=100.0, direction=direction) <= 0
    assert constraint.violation(broken, baseline=100.0, direction=direction) > 0


def test_a_violation_is_in_the_objectives_own_unit() -> None:
    constraint = Constraint(objective="size_bytes", bound=Bound.MAX, value=60_000)
    assert constraint.violation(61_500.0, baseline=1.0, direction=DOWN) == 1500.0


def test_a_value_that_equals_the_bound_but_for_rounding_keeps_it() -> None:
    constraint = Constraint(objective="accuracy", bound=Bound.DROP, value=0.05)
    assert 0.52 - 0.05 > 0.47
    assert constraint.violation(0.47, baseline=0.52, direction=UP) == 0
    assert constraint.violation(0.4699, baseline=0.52, direction=UP) > 0


def test_a_ratio_needs_a_positive_baseline() -> None:
    constraint = Constraint(objective="r2", bound=Bound.RATIO, value=0.9)
    with pytest.raises(ConfigurationError, match="A ratio needs a positive baseline"):
        constraint.violation(0.5, baseline=-0.1, direction=UP)


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        (Bound.MAX, float("nan")),
        (Bound.MIN, float("inf")),
        (Bound.DROP, -0.01),
        (Bound.RATIO, 0.0),
        (Bound.RATIO, -1.0),
    ],
)
def test_a_constraint_that_makes_no_sense_names_its_objective(bound: Bound, value: float) -> None:
    with pytest.raises(ConfigurationError, match="'accuracy'"):
        Constraint(objective="accuracy", bound=bound, value=value)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (60, 60.0),
        (0.25, 0.25),
        ("60kB", 60_000.0),
        ("60 KiB", 61_440.0),
        (" 1.5mb ", 1_500_000.0),
        ("2GiB", 2 * 2**30),
        ("512 b", 512.0),
        ("1e3", 1000.0),
        ("1.2e-3 kB", 1.2),
    ],
)
def test_quantities_are_numbers_or_bytes_with_a_unit(written: object, number: float) -> None:
    assert read_quantity(written) == pytest.approx(number)


@pytest.mark.parametrize("written", ["60 apples", "", "kB", "1.2.3", "-5", None, True, [60], "nan", "0x10"])
def test_what_is_no_quantity_is_refused(written: object) -> None:
    with pytest.raises(ConfigurationError, match="Expected a number or bytes such as 60kB, got"):
        read_quantity(written)


@pytest.mark.parametrize(
    ("document", "read"),
    [
        ("0.25x", [(Bound.RATIO, 0.25)]),
        (" 0.25x ", [(Bound.RATIO, 0.25)]),
        ({"max": "60kB"}, [(Bound.MAX, 60_000.0)]),
        ({"drop": 0.01}, [(Bound.DROP, 0.01)]),
        ({"ratio": "0.5x", "min": 10}, [(Bound.RATIO, 0.5), (Bound.MIN, 10.0)]),
        ({"ratio": 0.5}, [(Bound.RATIO, 0.5)]),
    ],
)
def test_constraints_are_read_from_plain_data(document: object, read: list[tuple[Bound, float]]) -> None:
    assert [(entry.bound, entry.value) for entry in read_constraints("size_bytes", document)] == read


@pytest.mark.parametrize(
    "document", ["60kB", 60, {}, None, {"maximum": 3}, {"max": "60 apples"}, {"drop": -1}, "applesx", {"ratio": "x"}]
)
def test_a_constraint_that_cannot_be_read_names_its_objective(document: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_constraints("size_bytes", document)
    assert "'size_bytes'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "written"), [("0.25x", "size_bytes 0.25x"), ({"max": "60kB"}, "size_bytes max 60000")]
)
def test_a_constraint_prints_as_it_is_written(document: object, written: str) -> None:
    assert str(read_constraints("size_bytes", document)[0]) == written
