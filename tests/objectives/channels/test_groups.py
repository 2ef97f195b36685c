"""Which channels belong together: what additions join, what reads them, and what must have all of them."""

from functools import cache

import pytest

from paretune.objectives.channels.groups import channels_of
from paretune.objectives.keras_door import keras

pytestmark = pytest.mark.tensorflow


def grouped(model):
    return {group.name: (group.channels, group.layers, group.readers) for group in channels_of(model).groups}


@cache
def varied():
    """A residual block, a depthwise convolution, a concatenation, a flattening."""
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    stem = layers.ReLU()(
        layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, padding="same", name="stem")(inputs))
    )
    x = layers.ReLU()(layers.Conv2D(6, 3, padding="same", name="inner")(stem))
    x = layers.Add()([layers.Conv2D(8, 3, padding="same", name="outer")(x), stem])
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    left, right = (layers.Conv2D(width, 1, name=name)(x) for width, name in ((4, "left"), (3, "right")))
    x = layers.Flatten()(layers.Concatenate()([left, right]))
    x = layers.Dense(5, activation="relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))


def test_what_an_addition_joins_goes_together_and_everything_that_reads_it_gets_narrower():
    assert grouped(varied()) == {
        "stem": (8, ("stem", "outer"), ("inner", "depthwise", "left", "right")),
        "inner": (6, ("inner",), ("outer",)),
        "left": (4, ("left",), ("hidden",)),
        "right": (3, ("right",), ("hidden",)),
        "hidden": (5, ("hidden",), ("head",)),
    }


def test_the_outputs_of_a_model_stay_and_the_reason_is_told():
    assert channels_of(varied()).refusals == {"head": "The activation softmax must have all of them."}
    inputs = keras.Input((4,))
    plain = keras.Model(inputs, keras.layers.Dense(3, name="head")(inputs))
    assert channels_of(plain).refusals == {"head": "They are outputs of the model."}


def over(read, *, shape=(6, 6, 2)):
    """A convolution, something that reads it, and a head."""
    inputs = keras.Input(shape)
    x = read(keras.layers.Conv2D(4, 1, name="conv")(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(x))


@pytest.mark.parametrize(
    ("read", "named"),
    [
        (lambda x: keras.layers.Flatten()(keras.layers.LayerNormalization(name="mixing")(x)), "mixing"),
        (lambda x: keras.layers.Flatten()(keras.layers.Softmax(name="mixing")(x)), "mixing"),
        (lambda x: keras.layers.LSTM(3, name="reader")(keras.layers.Reshape((36, 4))(x)), "reader"),
        (lambda x: keras.layers.Flatten()(keras.layers.Permute((3, 1, 2), name="turned")(x)), "turned"),
    ],
    ids=["a norm over channels", "a softmax", "a recurrent layer", "axes in another order"],
)
def test_channels_that_reach_what_must_have_all_of_them_stay_and_the_layer_is_named(read, named):
    found = channels_of(over(read))
    assert "conv" not in grouped(over(read))
    assert f"'{named}'" in found.refusals["conv"]


def test_a_layer_that_is_used_twice_keeps_the_channels_that_it_reads():
    inputs = keras.Input((6,))
    shared = keras.layers.Dense(4, name="shared")
    x = keras.layers.Dense(4, name="first")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(shared(shared(x))))
    found = channels_of(model)
    assert "first" not in grouped(model)
    assert "used 2 times" in found.refusals["first"]


def test_layers_that_share_only_some_of_their_channels_keep_all():
    inputs = keras.Input((5, 5, 1))
    wide, narrow = (keras.layers.Conv2D(width, 1, name=name)(inputs) for width, name in ((6, "wide"), (3, "narrow")))
    x = keras.layers.Add()([keras.layers.Concatenate()([narrow, narrow]), wide])
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.Flatten()(x)))
    found = channels_of(model)
    assert set(found.refusals) == {"wide", "narrow", "head"}
    assert "'narrow'" in found.refusals["wide"]
