import numpy as np

from paretune.objectives.measure.example import record_example
from tests.tiny_tflite import doubled, example_of_sum_and_product, sum_and_product


def test_inputs_and_outputs_go_by_name_whatever_the_files_own_order() -> None:
    expected = example_of_sum_and_product()
    example = record_example(
        sum_and_product(), list(expected.inputs.values()), ["left", "right"], ["output_0", "output_1"]
    )
    assert list(example.inputs) == ["left", "right"]
    for name, array in {**expected.inputs, **expected.outputs}.items():
        np.testing.assert_array_equal({**example.inputs, **example.outputs}[name], array)
    assert example.operators == ("ADD", "MUL")


def test_only_the_first_samples_are_recorded_in_the_types_of_the_file() -> None:
    rows = np.arange(9 * 4, dtype=np.float64).reshape(9, 4)
    example = record_example(doubled(), [rows], ["x"], ["output_0"])
    assert len(example.inputs["x"]) == len(example.outputs["output_0"]) == 3
    assert example.inputs["x"].dtype == np.float32
    np.testing.assert_array_equal(example.inputs["x"], rows[:3])
