"""The values to try of a hyperparameter as Keras Tuner declares it: finitely many."""

from typing import Any

#: Of all values in equal steps; and of a range without steps.
_MOST_STEPS = 6
_POINTS = 5

#: Digits that tell the points of a range apart, and are still read at a glance.
_POINT_DIGITS = 5
_STEP_DIGITS = 12


def choices_of(declared: Any) -> tuple[Any, ...]:
    """Return the values to try of a ``keras_tuner`` hyperparameter; its default is among them, exactly as it is.

    A number in steps takes every value if there are at most six, else six of them, evenly spread. One without steps
    takes five points of its range, spread as it is sampled: in equal distances or in equal ratios.

    Returns:
        Numbers in ascending order, everything else as it was declared; one value where there is nothing to choose.
    """
    kind = type(declared).__name__
    if kind == "Fixed":
        return (declared.value,)
    if kind == "Boolean":
        return (False, True)
    if kind == "Choice":
        return tuple(dict.fromkeys(declared.values))
    values = _points(declared) if declared.step is None else _steps(declared)
    number = int if kind == "Int" else float
    return tuple(sorted({declared.default, *map(number, values)}))


def _steps(declared: Any) -> list[float]:
    count = declared._get_n_values()
    tried = min(count, _MOST_STEPS)
    indices = [round(place * (count - 1) / max(1, tried - 1)) for place in range(tried)]
    return [_readable(declared._get_value_by_index(index), _STEP_DIGITS) for index in indices]


def _points(declared: Any) -> list[float]:
    between = [declared._sample_numerical_value(place / (_POINTS - 1)) for place in range(1, _POINTS - 1)]
    low, high = declared.min_value, declared.max_value
    return [low, *(min(max(low, _readable(value, _POINT_DIGITS)), high) for value in between), high]


def _readable(value: float, digits: int) -> float:
    """Return 0.3 for 0.30000000000000004."""
    return value if isinstance(value, int) else float(f"{value:.{digits}g}")
