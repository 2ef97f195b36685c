"""Pruning schedules do what their settings say, in tfmot's flow and in the compiled one."""

import pytest

from paretune.objectives.engine.prune_graph import _VariableSchedule
from paretune.objectives.keras_door import tf
from paretune.objectives.pipeline.ramps import ramp_of
from paretune.objectives.reference.prune import _schedule
from tests.objectives.engine.small_models import policy, task

pytestmark = pytest.mark.tensorflow

TARGET = 0.8


def updates(schedule, steps):
    """Return the sparsity at each step at which a schedule updates masks; steps count from 1, as in both flows."""
    looked = [(step, *schedule(tf.constant(step, tf.int64))) for step in range(1, steps + 1)]
    return {step: float(sparsity) for step, is_turn, sparsity in looked if bool(is_turn)}


def both(steps, **settings):
    ramp = ramp_of(task("prune", policy(), steps=steps, **settings))
    variable = _VariableSchedule()
    variable.set(ramp, TARGET)
    by_tfmot = updates(_schedule(ramp, TARGET, dead=0.0), steps)
    assert updates(variable, steps) == by_tfmot
    return by_tfmot


def test_a_polynomial_ramp_rises_from_begin_to_end_and_stops_there():
    found = both(40, begin=0.25, end=0.75, frequency=5)
    assert list(found) == [10, 15, 20, 25, 30]
    cubic = [TARGET * (1 - (1 - progress) ** 3) for progress in (0, 0.25, 0.5, 0.75, 1)]
    assert list(found.values()) == pytest.approx(cubic)


def test_constant_sparsity_is_the_target_from_begin_until_the_stage_ends():
    found = both(40, pruning_schedule="constant", begin=0.25, end=0.5, frequency=7)
    assert list(found) == [10, 17, 24, 31, 38]
    assert list(found.values()) == pytest.approx([TARGET] * 5)


@pytest.mark.parametrize(("steps", "end", "frequency"), [(13, 1.0, 5), (7, 0.75, 4), (3, 0.4, 100), (1, 0.75, 5)])
def test_a_ramp_whose_end_falls_between_two_updates_reaches_its_target_at_the_last_one_before(steps, end, frequency):
    found = both(steps, end=end, frequency=frequency)
    assert max(found) <= max(1, steps * end)
    assert found[max(found)] == pytest.approx(TARGET)


def test_a_layer_that_is_not_pruned_is_never_looked_at():
    schedule = _VariableSchedule()
    schedule.set(ramp_of(task("prune", policy(), steps=20)), 0.0)
    assert updates(schedule, 20) == {}
