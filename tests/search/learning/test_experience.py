from collections.abc import Sequence

import numpy as np
import pytest

from paretune.search.learning.experience import Experience, farthest_recovery, process_of_all
from paretune.search.learning.kernel import Points
from paretune.search.learning.predictor import ENOUGH_OF_ITS_OWN, ENOUGH_TRIALS
from tests.search.learning.test_predictor import profiled


def experience(rises: Sequence[float], left: Sequence[float]) -> Experience:
    untrained = np.array([[rise, 0.1 * rise, 0.0] for rise in rises]).reshape(len(rises), 3)
    return Experience(untrained, np.array(left, dtype=np.float64))


NOTHING = experience([], [])


def test_half_the_way_is_gone_to_what_other_models_recover_from_or_this_one_does_not() -> None:
    other = experience([0.5, 1.0, 2.0, 3.0], [0.1, 0.2, 0.6, 5.0])
    assert farthest_recovery(NOTHING, [other], limit=1.0) == 1.0
    assert farthest_recovery(experience([1.0], [0.3]), [other], limit=1.0) == 1.5
    assert farthest_recovery(experience([1.0, 1.5], [0.3, 4.0]), [other], limit=1.0) == 1.25
    assert farthest_recovery(experience([2.5], [0.3]), [other], limit=1.0) == 2.5


def test_where_nothing_has_recovered_nothing_is_hoped_for() -> None:
    assert farthest_recovery(NOTHING, [experience([2.0], [9.0])], limit=1.0) == 0.0


def test_what_is_left_is_learnt_over_the_trials_of_all_models() -> None:
    rises = np.linspace(0, 3, 12)
    halves = [experience(part.tolist(), (2 * part).tolist()) for part in (rises[::2], rises[1::2])]
    mean, _ = process_of_all(halves).predict(Points(np.array([[1.0, 0.1, 0.0], [2.0, 0.2, 0.0]])))
    assert mean == pytest.approx([2.0, 4.0], abs=0.1)


def test_a_model_without_trials_of_its_own_tries_nothing_beyond_what_has_recovered() -> None:
    lab = profiled()
    rows = lab.rows(60)
    base, limit = lab.costs(np.zeros_like(rows[:1]))[0, 0], lab.costs(rows)[:, 0].max() + 1
    assert lab.predictor.may_recover(rows, limit).all()  # nobody tells yet

    rises = lab.predictor._features(rows)[:, 0]
    middle = float(np.median(rises))
    other = experience(np.linspace(0, 2 * middle, ENOUGH_TRIALS).tolist(), [0.0] * ENOUGH_TRIALS)
    lab.predictor.learn_from(lambda: [other])
    assert (lab.predictor.may_recover(rows, limit) == (rises <= middle)).all()  # half the way
    assert not lab.predictor.may_recover(rows[rises > 0], base - 1).any()  # a limit that nothing has met

    lab.train(rows[:ENOUGH_OF_ITS_OWN])
    assert lab.predictor.may_recover(rows, limit).all()  # from now on its own trials tell
