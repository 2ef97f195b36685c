"""What the doctor says of ranks."""

import pytest

pytestmark = pytest.mark.tensorflow


def test_the_doctor_tells_which_ranks_shrink_a_layer_and_why_others_have_none():
    from paretune.objectives.channels.groups import channels_of
    from paretune.objectives.doctor import examine
    from paretune.objectives.keras_door import keras

    layers = keras.layers
    chain = [
        keras.Input((8, 8, 4)),
        layers.Conv2D(8, 3, groups=2, name="grouped"),
        layers.DepthwiseConv2D(3, name="depthwise"),
        layers.Conv2D(12, 3, name="conv"),
        layers.Flatten(),
        layers.Dense(16, name="hidden"),
        layers.Dense(10, name="looped"),
        layers.Dense(1, name="head"),
    ]
    outputs = chain[0]
    for layer in chain[1:]:
        outputs = layer(outputs)
    model = keras.Model(chain[0], outputs)
    specs = {spec.name: spec for spec in examine(model, {}, channels_of(model), {"looped": "it computes in a loop."})}
    assert len(specs["conv"].energies) == (72 * 12 - 1) // (72 + 12)
    assert list(specs["conv"].energies) == sorted(specs["conv"].energies)
    assert 0 < specs["conv"].energies[0] < specs["conv"].energies[-1] <= 1
    # 3x3 windows from 8 channels to 12 are a matrix of 24 x 36 too
    assert len(specs["conv"].spatial_energies) == (24 * 36 - 1) // (24 + 36)
    assert not specs["hidden"].spatial_energies
    why = {name: spec.refusals["rank"] for name, spec in specs.items() if not spec.energies}
    assert why == {
        "grouped": "Ranks are built for Dense, Conv1D, Conv2D without groups.",
        "depthwise": "Ranks are built for Dense, Conv1D, Conv2D without groups.",
        "looped": "The kernel cannot be stored as two: it computes in a loop.",
        "head": "No two kernels are smaller than this one.",
    }
