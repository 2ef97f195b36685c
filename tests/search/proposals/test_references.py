import pytest

from paretune.search.proposals.references import reference_policies
from paretune.search.settings import SearchProblem
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.objective import FILE_OBJECTIVES, Bound, Constraint
from tests.fakes import ACCURACY, AnalyticEvaluator, layer_specs
from tests.search.problems import a_problem


def decided(*, choices: dict[str, tuple[object, ...]] | None = None) -> list[LayerPolicy]:
    """Return what each reference decides about the last layer."""
    space = build_space(layer_specs(2), SpaceSettings(choices=choices or {}))
    for reference in reference_policies(space):
        assert space.policy(reference.choice) == reference.policy
    return [reference.policy["conv1"] for reference in reference_policies(space)]


def test_the_references_are_the_usual_uniform_policies() -> None:
    qat = Quantization.INT8_QAT
    assert decided() == [
        LayerPolicy(quantization=Quantization.INT8),
        LayerPolicy(quantization=qat),
        LayerPolicy(sparsity=0.5, clusters=16, quantization=qat),
        LayerPolicy(sparsity=0.8, clusters=16, quantization=qat),
    ]


def test_references_are_snapped_into_the_space_and_come_once() -> None:
    assert decided(choices={"sparsity": (0.0, 0.6), "clusters": (None,), "quantization": (Quantization.INT8,)}) == [
        LayerPolicy(quantization=Quantization.INT8),
        LayerPolicy(sparsity=0.6, quantization=Quantization.INT8),
    ]


def test_a_reference_that_leaves_everything_as_it_is_is_the_baseline_already() -> None:
    assert decided(choices={"sparsity": (0.0, 0.1), "clusters": (None,), "quantization": ("float32",)}) == [
        LayerPolicy(sparsity=0.1)
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"objectives": ()}, "A search needs at least one objective"),
        (
            {"objectives": (ACCURACY, FILE_OBJECTIVES["size_bytes"]), "trial_seconds": 0.0},
            "The deadline of a trial must be above 0 seconds, got 0.0.",
        ),
        (
            {"constraints": [Constraint(objective="size_byte", bound=Bound.MAX, value=1)]},
            "'size_byte' is not measured; what is measured is accuracy, size_bytes, raw_bytes, entropy_bytes, "
            "macs, bit_operations, parameters, arena_bytes, energy_nj, latency_ratio, loss. Did you mean 'size_bytes'?",
        ),
    ],
)
def test_a_problem_that_makes_no_sense_is_answered_in_one_line(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        a_problem(**settings)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_a_problem_knows_which_values_every_trial_must_have() -> None:
    problem: SearchProblem = a_problem(
        AnalyticEvaluator(),
        objectives=(ACCURACY,),
        constraints=[Constraint(objective="raw_bytes", bound=Bound.RATIO, value=0.5)],
    )
    assert problem.needed_values == ("accuracy", "raw_bytes")
