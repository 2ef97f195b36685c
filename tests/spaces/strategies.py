"""Hypothesis strategies for the vocabulary."""

from hypothesis import strategies as st

from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization

names = st.text("abcdefgh_0123456789/", min_size=1, max_size=8)

layer_policies = st.builds(
    LayerPolicy,
    sparsity=st.floats(0, 1, exclude_max=True),
    clusters=st.none() | st.integers(2, 300),
    quantization=st.sampled_from(Quantization),
)


@st.composite
def layer_specs(draw: st.DrawFn, name: str | None = None) -> LayerSpec:
    """Draw a layer of any size that supports any subset of the knobs, and always float32."""
    weights = draw(st.integers(1, 5000))
    offered = draw(st.sets(st.sampled_from(Quantization)))
    return LayerSpec(
        name=name if name is not None else draw(names),
        kind="Dense",
        weight_shape=(weights, 1),
        weights=weights,
        distinct=draw(st.integers(1, weights)),
        prunable=draw(st.booleans()),
        clusterable=draw(st.booleans()),
        quantizations=tuple(mode for mode in Quantization if mode in offered | {Quantization.FLOAT32}),
    )


models = st.lists(names, min_size=1, max_size=4, unique=True).flatmap(
    lambda given: st.tuples(*(layer_specs(name) for name in given))
)


@st.composite
def supported_policies(draw: st.DrawFn, layers: tuple[LayerSpec, ...]) -> Policy:
    """Draw a policy that the layers support, resolved."""
    entries = []
    for spec in layers:
        wish = draw(layer_policies)
        decided = LayerPolicy(
            sparsity=wish.sparsity if spec.prunable else 0.0,
            clusters=wish.clusters if spec.clusterable else None,
            quantization=draw(st.sampled_from(spec.quantizations)),
        )
        entries.append((spec.name, spec.normal_form(decided)))
    return Policy(tuple(entries))
