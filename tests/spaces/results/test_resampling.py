from paretune.spaces.results.resampling import Interval, Resampled, difference, interval_in, with_interval


def resampled(values) -> Resampled:
    return Resampled(metric="accuracy", values=tuple(values))


def test_an_interval_leaves_out_the_outer_twentieth():
    assert resampled(range(101)).interval == Interval(2.5, 97.5)
    assert resampled([]).interval is None


def test_a_difference_is_taken_resample_by_resample():
    """Two files that rise and fall together differ by the same all the time, however far they rise and fall."""
    wild = [0.5, 0.9, 0.1, 0.7]
    steady = difference(resampled(value + 0.125 for value in wild), resampled(wild))
    assert steady is not None
    assert abs(steady.low - 0.125) < 1e-9
    assert not steady.covers(0.0)
    other_way_round = difference(resampled(reversed(wild)), resampled(wild))
    assert other_way_round is not None
    assert other_way_round.covers(0.0)


def test_a_file_of_which_nothing_is_known_differs_by_nothing_that_is_known():
    assert difference(resampled([]), resampled([1.0, 2.0])) is None


def test_an_interval_is_read_back_from_the_values_it_was_put_among():
    values = with_interval({"accuracy": 50.0}, resampled(range(101)))
    assert values == {"accuracy": 50.0, "accuracy_low": 2.5, "accuracy_high": 97.5}
    assert interval_in(values, "accuracy") == Interval(2.5, 97.5)
    assert interval_in(with_interval({"accuracy": 50.0}, resampled([])), "accuracy") is None
