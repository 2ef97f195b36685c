"""The uncompressed model teaches every stage: alike in the compiled stages and in tfmot's flow."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from paretune.objectives.engine.numerics import AS_TFMOT
from paretune.objectives.engine.stages import CompiledStages
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.pipeline import teacher as teachers
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.teacher import Teacher
from paretune.objectives.reference.stages import ReferenceStages
from paretune.objectives.tasks.output_kinds import OutputTask
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.errors import DataError, LimitReached
from paretune.spaces.policies.policy import LayerPolicy
from tests.objectives.engine.small_models import QAT, mlp, noise_for, policy, require_same, residual_cnn, run, task

pytestmark = pytest.mark.tensorflow

CASES = {
    "prune": ("mlp", policy(first=LayerPolicy(sparsity=0.5), second=LayerPolicy(sparsity=0.3), head=LayerPolicy())),
    "cluster": ("residual_cnn", policy(stem=LayerPolicy(clusters=5), branch=LayerPolicy(), head=LayerPolicy())),
    "quantize": ("mlp", policy(first=LayerPolicy(quantization=QAT), second=LayerPolicy(), head=LayerPolicy())),
}
MODELS = {"mlp": (mlp, "softmax"), "residual_cnn": (residual_cnn, "linear")}


@cache
def model_of(name):
    return MODELS[name][0]()


def output_of(model, activation):
    return OutputTask(
        name="y", kind="classification", shape=model.output_shape[1:], coding="labels", activation=activation
    )


@cache
def data_of(name, *, sample_weights=False):
    model = model_of(name)
    data = noise_for(model, sample_weights=sample_weights)
    return replace(data, teacher=Teacher(model, data.inputs, [output_of(model, MODELS[name][1])]))


@cache
def engine(name, *, sample_weights=False):
    return CompiledStages(model_of(name), data_of(name, sample_weights=sample_weights), numerics=AS_TFMOT)


@pytest.mark.parametrize(
    "stage", ["prune", *(pytest.param(stage, marks=pytest.mark.slow) for stage in ("cluster", "quantize"))]
)
def test_a_taught_stage_is_bitwise_that_of_tfmots_flow(stage):
    name, decided = CASES[stage]
    asked = task(stage, decided, distillation=0.7, temperature=2.5)
    start = read_weights(model_of(name))
    ours = run(engine(name), asked, start)
    require_same(ours, run(ReferenceStages(model_of(name), data_of(name)), asked, start))
    untaught = run(engine(name), task(stage, decided), start)
    assert not np.array_equal(ours["head"][0], untaught["head"][0])


@pytest.mark.slow
def test_sample_weights_act_on_both_parts_alike_in_both_flows():
    asked = task("prune", CASES["prune"][1], steps=3, distillation=1.0)
    start, data = read_weights(model_of("mlp")), data_of("mlp", sample_weights=True)
    weighted = run(engine("mlp", sample_weights=True), asked, start)
    require_same(weighted, run(ReferenceStages(model_of("mlp"), data), asked, start))
    assert not np.array_equal(weighted["head"][0], run(engine("mlp"), asked, start)["head"][0])


def test_one_graph_serves_all_weights_and_temperatures_and_another_one_those_without_a_teacher():
    def asked(**settings):
        return task("prune", CASES["prune"][1], **settings)

    first = engine("mlp").prepare(asked(distillation=0.2))
    assert engine("mlp").prepare(asked(distillation=0.9, temperature=7.0)) is first
    assert engine("mlp").prepare(asked(temperature=7.0)) is not first


def test_weight_and_temperature_of_one_task_leave_no_trace_in_the_next():
    start = read_weights(model_of("mlp"))
    asked = task("prune", CASES["prune"][1], distillation=0.5)
    first = run(engine("mlp"), asked, start)
    other = run(engine("mlp"), task("prune", CASES["prune"][1], distillation=0.9, temperature=9.0), start)
    assert not np.array_equal(first["head"][0], other["head"][0])
    require_same(run(engine("mlp"), asked, start), first)


def test_without_distillation_a_teacher_changes_nothing_and_is_never_asked():
    name, decided = CASES["prune"]
    start = read_weights(model_of(name))
    data = replace(data_of(name), teacher=Teacher(None, (), ()))  # would fail if it were asked
    plain = run(
        CompiledStages(model_of(name), noise_for(model_of(name)), numerics=AS_TFMOT), task("prune", decided), start
    )
    require_same(run(CompiledStages(model_of(name), data, numerics=AS_TFMOT), task("prune", decided), start), plain)


@pytest.mark.slow
def test_a_student_that_learns_from_the_teacher_alone_comes_nearer_to_its_answers():
    """The labels are noise, which a teacher knows nothing about: who learns from them moves away from it."""
    model, data = model_of("residual_cnn"), data_of("residual_cnn")
    decided = policy(stem=LayerPolicy(sparsity=0.5), branch=LayerPolicy(), head=LayerPolicy(sparsity=0.5))
    taught = data.teacher.answers(Meter(Limit()))[0]
    off = {}
    for weight in (0.0, 1.0):
        asked = task("prune", decided, steps=60, distillation=weight)
        student = keras.models.clone_model(model)
        for layer, arrays in run(engine("residual_cnn"), asked, read_weights(model)).items():
            student.get_layer(layer).set_weights(arrays)
        off[weight] = np.mean(np.square(student(data.inputs[0]).numpy() - taught))
    assert off[1.0] < 0.5 * off[0.0]


@cache
def two_headed():
    keras.utils.set_random_seed(5)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu", name="body")(inputs)
    heads = [keras.layers.Dense(2, name="first")(x), keras.layers.Dense(1, activation="sigmoid", name="second")(x)]
    return keras.Model(inputs, heads)


def teacher_of_two(samples=150, **settings):
    rows = np.random.default_rng(1).normal(size=(samples, 4)).astype(np.float32)
    outputs = [
        OutputTask(name="first", kind="regression", shape=(2,)),
        OutputTask(name="second", kind="classification", shape=(1,), coding="yes_no", activation="sigmoid"),
    ]
    return rows, Teacher(two_headed(), (rows,), outputs, **settings)


@pytest.mark.parametrize("most_bytes", [10, 10**6], ids=["on disk", "in memory"])
def test_a_teacher_answers_every_row_for_every_output(most_bytes):
    rows, teacher = teacher_of_two(most_bytes=most_bytes)
    answers = teacher.answers(Meter(Limit()))
    for answer, expected in zip(answers, two_headed()(rows), strict=True):
        np.testing.assert_allclose(answer[:], expected.numpy(), atol=1e-6)
        np.testing.assert_array_equal(answer[np.array([149, 3])], answer[:][[149, 3]])
    for answer, again in zip(answers, teacher.answers(Meter(Limit())), strict=True):
        np.testing.assert_array_equal(answer[:], again[:])


def test_a_teacher_stopped_by_a_limit_goes_on_from_there():
    class Stop(Meter):
        looks = 0

        def check(self):
            self.looks += 1
            if self.looks == 3:
                raise LimitReached("enough")

    rows, teacher = teacher_of_two()
    with pytest.raises(LimitReached):
        teacher.answers(Stop(Limit()))
    second = Stop(Limit())
    answers = teacher.answers(second)
    assert second.looks == 1, "two of three blocks were done before"
    np.testing.assert_allclose(answers[0], two_headed()(rows)[0].numpy(), atol=1e-6)


def test_answers_that_find_no_room_are_told_in_one_line(monkeypatch):
    monkeypatch.setattr(teachers, "_temporary_file", lambda: open("/dev/full", "wb", 0))  # noqa: PTH123, SIM115
    with pytest.raises(DataError, match=r"`distillation` keeps .* cannot be written: .*No space left.* TMPDIR"):
        teacher_of_two(most_bytes=10)[1].answers(Meter(Limit()))


@pytest.mark.slow
def test_several_outputs_are_taught_alike_in_both_flows():
    rows, teacher = teacher_of_two(samples=40)
    generator = np.random.default_rng(2)
    targets = generator.normal(size=(40, 2)).astype(np.float32), generator.integers(0, 2, (40, 1)).astype(np.float32)
    losses = [keras.losses.MeanSquaredError(), keras.losses.BinaryCrossentropy()]
    data = replace(noise_for(two_headed()), inputs=(rows,), targets=targets, losses=losses, teacher=teacher)
    decided = policy(body=LayerPolicy(sparsity=0.5), first=LayerPolicy(), second=LayerPolicy())
    asked, start = task("prune", decided, distillation=0.5), read_weights(two_headed())
    ours = run(CompiledStages(two_headed(), data, numerics=AS_TFMOT), asked, start)
    require_same(ours, run(ReferenceStages(two_headed(), data), asked, start))
