"""The ready-made experiment of low ranks: both ways of splitting a convolution, from a policy to the file."""

import json

import numpy as np
import pytest

from tests.end_to_end.command_line import Shell, ready_made
from tests.end_to_end.plain_tflite import plain_kernels

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

POLICY = """
hyperparameters: {{recipe.structure.decomposition: {how}}}
layers:
  block2_conv1: {{rank: 12}}
  block3_conv*: {{rank: 20, channels: 0.5, quantization: int8}}
  block3_shortcut: {{channels: 0.5}}
  logits: {{rank: 4}}
"""
#: Shapes of the kernels in the file, output channels first, that are split in two.
SHAPES = {
    "channels": [(12, 3, 3, 16), (32, 1, 1, 12), (20, 3, 3, 32), (32, 1, 1, 20), (20, 3, 3, 32), (32, 1, 1, 20)],
    "spatial": [(12, 3, 1, 16), (32, 1, 3, 12), (20, 3, 1, 32), (32, 1, 3, 20), (20, 3, 1, 32), (32, 1, 3, 20)],
}
OF_LOGITS = [(4, 32), (10, 4)]


def test_a_search_of_both_decompositions_knows_what_each_layer_can_have(shell: Shell) -> None:
    file = ready_made("digits_low_rank")
    diagnosis = json.loads(shell.run("doctor", file, "--format", "json").out)
    ranks = {layer["name"]: layer["largest_rank"] for layer in diagnosis["layers"]}
    assert ranks["block3_conv2"] == {"channels": 57, "spatial": 95}
    assert ranks["block3_shortcut"] == {"channels": 21, "spatial": 21}
    assert "no spatial rank: Its kernel has no window" in shell.run("doctor", file).out
    assert json.loads(shell.run("plan", file, "--format", "json").out)["variants"] == 2


@pytest.mark.parametrize("how", SHAPES)
def test_a_policy_with_ranks_gives_a_file_with_two_kernels_for_one(shell: Shell, how: str) -> None:
    (shell.folder / "policy.yaml").write_text(POLICY.format(how=how))
    folder = shell.folder / shell.run("apply", "policy.yaml", ready_made("digits_low_rank"), "--to", how).out.strip()
    kernels = plain_kernels((folder / "model.tflite").read_bytes())
    found = [kernel.stored.shape for kernel in kernels]
    assert [shape for shape in found if shape in SHAPES[how]] == SHAPES[how]
    assert found[-2:] == OF_LOGITS
    assert {kernel.format for kernel in kernels if 20 in kernel.stored.shape} == {"int8"}

    measured = json.loads((folder / "measurement.json").read_text())
    assert measured["recipe"]["structure"]["decomposition"] == how
    rows = {row["layer"]: row for row in measured["fidelity"]}
    assert not [fault for row in rows.values() for fault in row["faults"]]
    assert rows["block3_conv2"]["weights"] == sum(int(np.prod(shape)) for shape in SHAPES[how][-2:])
    assert measured["values"]["test"]["accuracy"] > 0.9
