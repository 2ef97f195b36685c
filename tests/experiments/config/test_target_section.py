"""What `target` and `objectives` of an experiment file decide."""

from pathlib import Path

import pytest

from paretune.experiments.config.experiment import Experiment, parse_experiment
from paretune.experiments.config.target_section import aim
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import KNOBS, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.policies.targets import TARGETS, Target
from paretune.spaces.results.objective import ASKED_OBJECTIVES, FILE_OBJECTIVES, Direction

INT8 = (Quantization.INT8, Quantization.INT8_QAT)
LAYER = LayerSpec(
    name="conv",
    kind="Conv2D",
    weight_shape=(3, 3, 8, 8),
    weights=576,
    distinct=576,
    channels=8,
    channel_group="conv",
    quantizations=tuple(Quantization),
)


def read(text: str) -> Experiment:
    return parse_experiment(f"model: zoo:model\ndata: zoo:data\n{text}", Path("digits.yaml"))


def problem(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return str(caught.value)


def searched(experiment: Experiment) -> dict[str, tuple[object, ...]]:
    return {each.knob: each.choices for each in build_space([LAYER], experiment.space).parameters}


@pytest.mark.parametrize("target", list(TARGETS))
def test_every_target_names_what_can_be_measured_and_says_why_it_leaves_something_out(target: str) -> None:
    experiment = read(f"target: {target}")
    known = {"metric", *FILE_OBJECTIVES, *ASKED_OBJECTIVES}
    assert experiment.target == target
    assert set(experiment.objectives) <= known
    assert all(note.startswith(f"{target}: no ") and note.endswith(".") for note in experiment.notes)
    formats = searched(experiment)["quantization"]
    assert set(formats) == set(TARGETS[target].formats)
    frozen = set(TARGETS[target].frozen_knobs)
    assert set(searched(experiment)) == set(KNOBS) - frozen - {"rank"}  # which is searched only where it is asked for
    assert frozen <= set(KNOBS)


def test_a_microcontroller_gets_what_runs_there_and_nothing_that_saves_nothing() -> None:
    experiment = read("target: microcontroller")
    assert experiment.objectives == ("metric", "raw_bytes", "arena_bytes")
    assert list(searched(experiment)) == ["channels", "quantization"]
    assert not {Quantization.DYNAMIC_INT8, Quantization.INT4, Quantization.FLOAT16} & {
        *searched(experiment)["quantization"]
    }
    assert any(
        note.startswith("microcontroller: no sparsity: the file in flash is as long") for note in experiment.notes
    )


def test_what_the_experiment_says_itself_takes_precedence() -> None:
    experiment = read(
        "target: microcontroller\nobjectives: [metric, size_bytes]\n"
        "space: {channels: 1, sparsity: [0, 0.5], quantization: [int4, int8]}"
    )
    assert experiment.objectives == ("metric", "size_bytes")
    assert searched(experiment) == {"sparsity": (0.0, 0.5), "quantization": (Quantization.INT8, Quantization.INT4)}
    assert [note.split(":")[1] for note in experiment.notes] == [" no clusters"]
    one_layer = read("target: microcontroller\nspace: {layers: {conv: {sparsity: [0, 0.9]}}}")
    assert searched(one_layer)["sparsity"] == (0.0, 0.9)


def test_a_frozen_knob_that_there_is_not_yet_is_no_error() -> None:
    target = Target(name="attic", objectives=("metric",), frozen_knobs={"no_such_knob": "of dust"})
    assert aim(SpaceSettings(), target, ()).notes == ()


def test_an_attached_phone_is_asked_for_its_latency() -> None:
    assert read("target: android").objectives == ("metric", "size_bytes", "bit_operations")
    attached = read("target: android\ndevice: {adb: R58, benchmark_model: benchmark_model}")
    assert attached.objectives == ("metric", "size_bytes", "adb_latency_ms")
    settings = attached.settings_for_evaluator(threads=1)
    assert settings.asked == ("adb_latency_ms",)
    assert (settings.device.adb, settings.device.benchmark_model) == ("R58", "benchmark_model")
    assert "`adb_latency_ms` needs `device: {benchmark_model: PATH}`" in problem("objectives: [metric, adb_latency_ms]")


def test_an_unknown_target_is_named_with_the_nearest() -> None:
    told = problem("target: microcontroler")
    assert told.startswith("`target` must be one of cpu, download, ethos-u, microcontroller, android, got ")
    assert "Did you mean 'microcontroller'?" in told


def test_objectives_of_ethos_u_leave_its_formats_alone_whatever_the_target() -> None:
    experiment = read("objectives: [metric, size_bytes]\nconstraints: {vela_cycles: {max: 50000}}")
    assert searched(experiment)["quantization"] == INT8
    assert experiment.notes == ("Ethos-U objectives: only int8, int8_qat, which is all that it computes in.",)
    assert experiment.settings_for_evaluator(threads=1).asked == ("vela_cycles",)
    told = problem(
        "target: ethos-u\nspace:\n  quantization: [float32, int8]\n  layers: {head: {quantization: int4}}\n"
        "  pinned: {stem: {sparsity: 0.5}}\n"
    )
    assert "need `quantization` of int8, int8_qat alone, got float32 (digits.yaml line 5)." in told
    assert "got int4 (layer 'head'" in told
    assert "got float32 (layer 'stem'" in told  # what a pinned layer does not say is left as it was


def test_what_nobody_asks_for_is_not_measured() -> None:
    assert read("").settings_for_evaluator(threads=1).asked == ()
    assert read("").notes == ()


def test_an_objective_may_be_a_function_on_the_exported_file() -> None:
    experiment = read(
        "objectives: [metric, {name: boot_ms, function: 'boards:boot', unit: ms, log: true},\n"
        "  {name: score, function: 'boards:score', direction: maximize, tolerance: 1}]"
    )
    assert experiment.objectives == ("metric", "boot_ms", "score")
    boot, score = (each.objective for each in experiment.settings_for_evaluator(threads=1).functions)
    assert (boot.direction, boot.unit, boot.log) == (Direction.MINIMIZE, "ms", True)
    assert (score.direction, score.tolerance, score.log) == (Direction.MAXIMIZE, 1.0, False)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("{name: boot_ms}", "`function` of objective 'boot_ms' must be module:function, got None"),
        ("{name: size_bytes, function: 'a:b'}", "Objective 'size_bytes' needs another name"),
        ("{name: 'boot ms', function: 'a:b'}", "`name` of an objective must be letters, digits and '_', got 'boot ms'"),
        (
            "{name: boot, function: 'a:b', direction: up}",
            "`direction` of objective 'boot' must be minimize or maximize",
        ),
        ("{name: boot, function: 'a:b', units: ms}", "Unknown key 'units' of an objective"),
        ("{name: boot, function: 'a:b', log: 1}", "`log` of objective 'boot' must be true or false"),
        (
            "{name: boot, function: 'a:b', tolerance: -1}",
            "`tolerance` of objective 'boot' must be a number of at least 0",
        ),
        ("3", "An objective is a name, or a mapping with name, function"),
        ("metric", "Objective 'metric' is named twice"),
    ],
)
def test_an_objective_that_cannot_be_is_told_with_its_line(item: str, message: str) -> None:
    told = problem(f"objectives:\n- metric\n- {item}\n")
    assert told.startswith(message)
    assert "line 5" in told
