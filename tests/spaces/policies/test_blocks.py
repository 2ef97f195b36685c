"""Layers are stored in blocks of weights only where channels and ranks leave them a whole number of blocks."""

from dataclasses import replace
from typing import Any

import pytest

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.building import SpaceSettings, build_space
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.policies.space import Space

INT4, INT4_BLOCK, FLOAT16 = Quantization.INT4, Quantization.INT4_BLOCK, Quantization.FLOAT16
WIDE = LayerSpec(
    name="wide",
    kind="Conv2D",
    weight_shape=(1, 1, 8, 64),
    weights=512,
    distinct=512,
    channels=64,
    channel_group="wide",
    quantizations=tuple(form for form in Quantization if form is not INT4_BLOCK),
)
#: Each channel of the image in front of it is two of its inputs.
HEAD = LayerSpec(
    name="head",
    kind="Dense",
    weight_shape=(128, 100),
    weights=12800,
    distinct=12800,
    reads=("wide",),
    inputs_each=(2,),
    energies=tuple((1 + place) / 50 for place in range(50)),
    quantizations=tuple(Quantization),
)


def space_of(head: LayerSpec = HEAD, **choices: tuple[Any, ...]) -> Space:
    return build_space((WIDE, head), SpaceSettings(choices=choices))


def head_of(space: Space, **decided: Any) -> Quantization:
    choice = {
        each.name: each.choices.index(decided.get(each.name.replace(".", "_"), each.choices[0]))
        for each in space.parameters
    }
    policy = space.policy(choice)
    found = space.choice_of(policy)
    assert found is not None
    assert space.policy(found) == policy
    return policy["head"].quantization


@pytest.mark.parametrize(("kept", "form"), [(1.0, INT4_BLOCK), (0.75, INT4_BLOCK), (0.5, INT4_BLOCK), (0.625, INT4)])
def test_a_choice_that_leaves_no_whole_blocks_means_the_format_without_them(kept: float, form: Quantization) -> None:
    space = space_of(channels=(1.0, 0.75, 0.625, 0.5), quantization=(FLOAT16, INT4_BLOCK))
    assert head_of(space, wide_channels=kept, head_quantization=INT4_BLOCK) is form
    assert head_of(space, wide_channels=kept, head_quantization=FLOAT16) is FLOAT16


def test_where_that_format_is_not_offered_the_next_one_is_meant() -> None:
    head = replace(HEAD, quantizations=(Quantization.FLOAT32, FLOAT16, INT4_BLOCK))
    space = space_of(head, channels=(1.0, 0.625), quantization=(FLOAT16, INT4_BLOCK))
    assert head_of(space, wide_channels=0.625, head_quantization=INT4_BLOCK) is FLOAT16


@pytest.mark.parametrize(("energy", "form"), [(None, INT4_BLOCK), (0.64, INT4_BLOCK), (0.62, INT4)])
def test_a_rank_is_a_whole_number_of_blocks_too(energy: float | None, form: Quantization) -> None:
    space = space_of(rank=(None, 0.64, 0.62), channels=(1.0,), quantization=(FLOAT16, INT4_BLOCK))
    assert head_of(space, head_rank=HEAD.rank_of(energy), head_quantization=INT4_BLOCK) is form


def test_a_policy_that_asks_for_broken_blocks_is_refused_with_what_is_left() -> None:
    document = {"layers": {"wide": {"channels": 0.625}, "head": {"quantization": "int4_block"}}}
    with pytest.raises(
        ConfigurationError,
        match=r"^Layer 'head' cannot be stored as int4_block: the 80 inputs that channels leave of it cannot be "
        r"divided into blocks of 32\.$",
    ):
        space_of().resolve(document)
    with pytest.raises(ConfigurationError, match="a rank of 31 cannot be divided into blocks of 32"):
        space_of().resolve({"layers": {"head": {"rank": 31, "quantization": "int4_block"}}})
