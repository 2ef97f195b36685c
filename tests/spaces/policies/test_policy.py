import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization, digest_of, read_knob
from tests.spaces.strategies import layer_policies, names

policies = st.dictionaries(names, layer_policies, max_size=5).map(lambda entries: Policy(tuple(entries.items())))


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.2, float("nan"), float("inf"), "0.5", None, True])
def test_sparsity_is_a_number_from_zero_to_below_one(sparsity: object) -> None:
    with pytest.raises(ConfigurationError, match=r"`sparsity` must be in \[0, 1\), got"):
        LayerPolicy(sparsity=sparsity)  # type: ignore[arg-type]


@pytest.mark.parametrize("clusters", [1, 0, -3, 2.0, "16", True])
def test_clusters_are_none_or_a_whole_number_from_two(clusters: object) -> None:
    with pytest.raises(ConfigurationError, match="`clusters` must be none or a whole number of at least 2, got"):
        LayerPolicy(clusters=clusters)  # type: ignore[arg-type]


def test_a_number_format_is_not_any_string() -> None:
    with pytest.raises(ConfigurationError, match="must be a Quantization, got 'int8'"):
        LayerPolicy(quantization="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("knob", "value", "read"),
    [
        ("sparsity", 0, 0.0),
        ("sparsity", 0.5, 0.5),
        ("clusters", "None", None),
        ("clusters", None, None),
        ("clusters", 16, 16),
        ("quantization", "int8_qat", Quantization.INT8_QAT),
        ("quantization", Quantization.INT4, Quantization.INT4),
    ],
)
def test_knobs_are_read_from_plain_values(knob: str, value: object, read: object) -> None:
    assert read_knob(knob, value) == read


@pytest.mark.parametrize(
    ("knob", "value", "said"),
    [
        (
            "sparsty",
            0.5,
            "known are channels, rank, sparsity, clusters, quantization. Did you mean 'sparsity'?",
        ),
        ("sparsity", "half", "`sparsity` must be a number in [0, 1), got 'half'."),
        ("quantization", "int9", "Did you mean 'int8'?"),
        ("quantization", 8, "Unknown quantization 8; known are float32, float16"),
    ],
)
def test_a_knob_that_cannot_be_read_says_what_is_known(knob: str, value: object, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_knob(knob, value)
    assert said in str(caught.value)


@given(policies)
def test_equal_policies_share_a_digest_whatever_the_order_of_their_layers(policy: Policy) -> None:
    turned = Policy(tuple(reversed(policy.entries)))
    assert turned == policy
    assert hash(turned) == hash(policy)
    assert turned.digest == policy.digest


@given(policies, policies)
def test_different_policies_have_different_digests(one: Policy, other: Policy) -> None:
    assert (one.digest == other.digest) is (one == other)


@given(policies)
def test_a_policy_survives_pickling(policy: Policy) -> None:
    assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301


def test_a_digest_is_the_same_in_another_process() -> None:
    policy = Policy((("conv", LayerPolicy(sparsity=0.3, clusters=8, quantization=Quantization.INT8)),))
    code = (
        "from paretune.spaces.policies.policy import *; print(Policy((('conv', LayerPolicy(sparsity=0.3, clusters=8, "
        "quantization=Quantization.INT8)),)).digest)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == policy.digest


def test_a_policy_is_a_mapping_of_its_layers() -> None:
    policy = Policy((("a", LayerPolicy()), ("b", LayerPolicy(sparsity=0.5))))
    assert list(policy) == ["a", "b"]
    assert policy["b"].sparsity == 0.5
    assert "c" not in policy
    with pytest.raises(KeyError):
        policy["c"]
    assert not policy.is_untouched
    assert Policy((("a", LayerPolicy()),)).is_untouched


@pytest.mark.parametrize(
    ("mode", "bits", "levels", "static"),
    [
        ("float32", 32, None, False),
        ("float16", 16, None, False),
        ("dynamic_int8", 8, 255, False),
        ("int8", 8, 255, True),
        ("int8_qat", 8, 255, True),
        ("int16x8", 8, 255, True),
        ("int4", 4, 15, False),
        ("int4_block", 4, 15, False),
    ],
)
def test_each_number_format_knows_its_width(mode: str, bits: int, levels: int | None, static: bool) -> None:
    quantization = Quantization(mode)
    assert (quantization.weight_bits, quantization.weight_levels, quantization.is_static) == (bits, levels, static)


def test_a_digest_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"accuracy": float("nan")})
