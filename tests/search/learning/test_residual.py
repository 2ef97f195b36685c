import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.search.front import FloatArray
from paretune.search.learning.kernel import Points, points_of_choice
from paretune.search.learning.residual import GaussianProcess, likeliest_kernel


def features(count: int, seed: int = 0, width: int = 3) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(count, width))


def noise(count: int, seed: int = 9) -> FloatArray:
    return np.random.default_rng(seed).normal(size=count)


def trend(rows: FloatArray) -> FloatArray:
    return np.asarray(3 + rows @ np.array([2.0, -1.0, 0.5]))


def bend(rows: FloatArray) -> FloatArray:
    return np.sin(2 * rows[:, 0])


def learnt(rows: FloatArray, costs: FloatArray) -> GaussianProcess:
    return GaussianProcess(Points(rows), costs, likeliest_kernel(Points(rows), costs))


def test_a_trend_is_carried_on_beyond_what_was_seen() -> None:
    rows = features(20)
    far = 3 * features(50, seed=1)
    assert np.abs(far).max() > 2 * np.abs(rows).max()
    mean, _ = learnt(rows, trend(rows)).predict(Points(far))
    assert np.abs(mean - trend(far)).max() < 0.1 * np.ptp(trend(far))


def test_a_trend_is_found_among_features_that_mean_nothing() -> None:
    rows, others = features(12, width=30), features(100, seed=1, width=30)
    mean, _ = learnt(rows, 5 * rows[:, 0] + 0.1 * noise(12)).predict(Points(others))
    assert np.corrcoef(mean, others[:, 0])[0, 1] > 0.4


def test_what_deviates_from_the_trend_is_learnt_too() -> None:
    rows, others = features(120, width=1), features(200, seed=1, width=1)
    mean, _ = learnt(rows, rows[:, 0] + bend(rows)).predict(Points(others))
    errors = mean - (others[:, 0] + bend(others))
    line = np.polyval(np.polyfit(rows[:, 0], rows[:, 0] + bend(rows), 1), others[:, 0])
    assert np.mean(errors**2) < 0.1 * np.mean((line - others[:, 0] - bend(others)) ** 2)


@pytest.mark.parametrize("noisiness", [0.05, 0.5, 2.0])
def test_the_deviation_is_honest(noisiness: float) -> None:
    rows, others = features(60), features(400, seed=1)
    costs = trend(rows) + bend(rows) + noisiness * noise(60)
    mean, deviation = learnt(rows, costs).predict(Points(others))
    off = (mean - (trend(others) + bend(others) + noisiness * noise(400, seed=5))) / deviation
    # of a normal distribution it is 95 %; and it is not bought with deviations that cover anything
    assert np.mean(np.abs(off) < 2) > 0.88
    assert np.median(deviation) < 1.5 * (noisiness + 0.2)


def test_what_is_far_from_everything_seen_is_less_certain() -> None:
    rows = features(30)
    _, deviation = learnt(rows, trend(rows) + bend(rows)).predict(Points(np.vstack([rows[:1], 5 + rows[:1]])))
    assert deviation[1] > 2 * deviation[0]


def test_the_likeliest_noise_grows_with_the_noise_there_is() -> None:
    rows = features(80)
    kernels = [likeliest_kernel(Points(rows), trend(rows) + much * noise(80)) for much in (0.0, 2.0)]
    assert kernels[0].noise < kernels[1].noise


def test_costs_that_are_all_the_same_are_expected_again() -> None:
    rows = features(6)
    mean, deviation = learnt(rows, np.full(6, 0.5)).predict(Points(features(4, seed=1)))
    assert mean == pytest.approx(np.full(4, 0.5))
    assert np.isfinite(deviation).all()


@given(st.integers(1, 400))
def test_a_kernel_is_chosen_from_what_there_is_and_rarely_anew(count: int) -> None:
    points = points_of_choice(count)
    assert 1 <= points <= count
    assert points_of_choice(points) == points
    assert points_of_choice(count + 1) in {points, count + 1}


def test_a_kernel_is_chosen_a_few_times_in_a_long_search() -> None:
    assert len({points_of_choice(count) for count in range(5, 400)}) < 20


def test_a_feature_that_never_varied_does_not_blow_predictions_up() -> None:
    rng = np.random.default_rng(0)
    features = np.stack([rng.normal(size=12), np.full(12, 0.3)], axis=1)
    costs = features[:, 0] + 0.01 * rng.normal(size=12)
    process = GaussianProcess(Points(features), costs, likeliest_kernel(Points(features), costs))
    mean, deviation = process.predict(Points(np.array([[0.0, 0.8]])))
    assert abs(mean[0]) < 3 * np.ptp(costs)
    assert deviation[0] < 3 * np.ptp(costs)


def error_of(points: Points, costs: FloatArray, others: Points, expected: FloatArray) -> float:
    mean, _ = GaussianProcess(points, costs, likeliest_kernel(points, costs)).predict(others)
    return float(np.mean((mean - expected) ** 2))


def test_what_a_decision_does_beyond_its_features_is_learnt() -> None:
    rng = np.random.default_rng(0)
    decisions, rows = rng.integers(4, size=(160, 4)), features(160)
    costs = 0.3 * trend(rows) + 2.0 * (decisions[:, 0] == 2) + 0.1 * noise(160)
    told, asked = slice(0, 60), slice(60, None)
    error = error_of(
        Points(rows[told], decisions[told]), costs[told], Points(rows[asked], decisions[asked]), costs[asked]
    )
    assert error < 0.5 * error_of(Points(rows[told]), costs[told], Points(rows[asked]), costs[asked])
