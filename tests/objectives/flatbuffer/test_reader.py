"""Fidelity, read from good files and from wrong ones."""

import zlib

import numpy as np
import pytest

from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization

pytestmark = pytest.mark.tensorflow


def coarse(kernel, clusters):
    """Return a kernel with that many distinct values, zero among them."""
    levels = np.linspace(-0.5, 0.5, clusters)
    levels[np.abs(levels).argmin()] = 0
    return levels[np.abs(kernel[..., None] - levels).argmin(axis=-1)].astype(np.float32)


class Compressed:
    """A model whose kernels have five distinct values each, and its files."""

    def __init__(self, model, inputs):
        from paretune.objectives.kernels.weights import compressed_variables
        from paretune.objectives.templates.template import build_template

        self.specs = []
        for layer in model.layers:
            variables = compressed_variables(layer)
            for variable in variables:
                variable.assign(coarse(variable.numpy(), 5))
            if variables:
                weights = sum(int(np.prod(variable.shape)) for variable in variables)
                self.specs.append(
                    LayerSpec(
                        name=layer.name,
                        kind=type(layer).__name__,
                        weight_shape=tuple(variables[0].shape),
                        weights=weights,
                        distinct=weights,
                    )
                )
        self.model, self.inputs = model, inputs
        self.template = build_template(model)
        self.file = self.template.fill(model)

    def policy(self, **decided):
        return Policy(tuple((spec.name, LayerPolicy(**decided)) for spec in self.specs))

    def read(self, policy, formats, float_file=None, **settings):
        from paretune.objectives.flatbuffer.reader import read_fidelity
        from paretune.objectives.formats.formats import quantize_file

        float_file = float_file or self.file
        exported = quantize_file(self.template, float_file, formats, self.inputs)
        return read_fidelity(self.template, float_file, exported, policy, self.specs, **settings)


@pytest.fixture(scope="module")
def net(sequence_of, inputs_of):
    from paretune.objectives.keras_door import keras

    layers = keras.layers
    model = sequence_of(
        (8, 8, 3),
        layers.Conv2D(8, 3, name="conv"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.SeparableConv2D(6, 3, name="separable", activation="relu"),
        layers.Reshape((16, 6)),
        layers.LSTM(5, name="lstm"),
        layers.Dense(8, name="dense", activation="relu"),
        layers.BatchNormalization(),
        layers.Dense(4, name="head"),
    )
    return Compressed(model, inputs_of(model))


@pytest.mark.parametrize("form", [Quantization.FLOAT32, Quantization.FLOAT16, Quantization.DYNAMIC_INT8])
def test_a_file_that_got_what_was_asked_is_clean(net, form):
    policy = net.policy(clusters=5, quantization=form)
    fidelity = net.read(policy, {name: form for name, _ in policy.entries})
    assert fidelity.faults == ()
    assert [layer.weights for layer in fidelity.layers] == [spec.weights for spec in net.specs]
    assert {layer.stored_as for layer in fidelity.layers} == {str(form)}
    for layer, spec in zip(fidelity.layers, net.specs, strict=True):
        from paretune.objectives.kernels.weights import compressed_variables

        kernels = [variable.numpy() for variable in compressed_variables(net.model.get_layer(spec.name))]
        assert layer.zeros == sum(int((kernel == 0).sum()) for kernel in kernels)
        assert layer.rounding_zeros == 0
        assert 2 <= layer.distinct <= 5


def test_values_are_counted_by_channel_where_channels_are_scaled_apart(net):
    fidelity = net.read(net.policy(clusters=5), {})
    scopes = {layer.layer: layer.distinct_scope for layer in fidelity.layers}
    assert scopes == {
        "conv": "channel",
        "separable": "tensor",
        "lstm": "tensor",
        "dense": "tensor",
        "head": "channel",
    }


@pytest.mark.parametrize("form", [Quantization.FLOAT32, Quantization.INT8, Quantization.INT4, Quantization.INT4_BLOCK])
@pytest.mark.parametrize("values", [2, 3, 4])
def test_a_few_values_of_each_channel_or_block_read_clean_in_low_bits(sequence_of, inputs_of, form, values):
    small = few_values(sequence_of, inputs_of, values)
    policy = small.policy(clusters=values, quantization=form)
    fidelity = small.read(policy, {"dense": form}, cluster_scope="channel")
    assert fidelity.faults == ()
    layer = fidelity.layers[0]
    assert (layer.distinct, layer.distinct_scope) == (
        values,
        "block" if form is Quantization.INT4_BLOCK else "channel",
    )
    if form in (Quantization.FLOAT32, Quantization.INT8):
        too_many = small.read(policy, {"dense": form}).faults
        assert f"must have at most {values} distinct weights per tensor, found" in too_many[0]


def few_values(sequence_of, inputs_of, values):
    """Return a Dense layer each output of which has its own few values, in every block of 32 inputs."""
    from paretune.objectives.keras_door import keras

    model = sequence_of((64,), keras.layers.Dense(6, name="dense"))
    small = Compressed(model, inputs_of(model))
    levels = np.linspace(-1, 1, values, dtype=np.float32)[np.arange(64) % values]
    kernel = levels[:, None] * np.linspace(0.3, 1, 6, dtype=np.float32)
    model.get_layer("dense").set_weights([kernel, np.zeros(6, np.float32)])
    small.file = small.template.fill(model)
    return small


def test_too_few_zeros_are_a_fault_that_names_the_layer(net):
    fidelity = net.read(net.policy(sparsity=0.9), {})
    assert len(fidelity.faults) == 6, "one for each kernel; the LSTM has two"
    assert "'conv' must have 194 of 216 weights zero (sparsity 0.9), found" in fidelity.faults[0]


def test_one_zero_too_few_is_no_fault_but_two_are(net):
    achieved = net.read(net.policy(), {}).layers[0]
    for missing, faults in ((1, 0), (2, 1)):
        sparsity = (achieved.zeros + missing) / achieved.weights
        policy = Policy(
            tuple((spec.name, LayerPolicy(sparsity=sparsity if spec.name == "conv" else 0.0)) for spec in net.specs)
        )
        assert len(net.read(policy, {}).faults) == faults


def test_too_many_values_are_a_fault(net):
    faults = net.read(net.policy(clusters=3), {}).faults
    assert "Layer 'conv' must have at most 3 distinct weights per channel, found 5." in faults


def test_another_format_than_asked_is_a_fault(net):
    policy = net.policy(quantization=Quantization.INT4)
    faults = net.read(policy, {"conv": Quantization.INT4, "dense": Quantization.DYNAMIC_INT8}).faults
    assert "Layer 'dense' must be stored as int4, found dynamic_int8." in faults
    assert "Layer 'head' must be stored as int4, found float32." in faults
    assert not any("'conv'" in fault for fault in faults)
    assert any("'lstm'" in fault for fault in net.read(net.policy(), {"lstm": Quantization.FLOAT16}).faults)


def test_trained_and_calibrated_int8_read_the_same(net):
    fidelity = net.read(net.policy(quantization=Quantization.INT8_QAT), {"conv": Quantization.INT8_QAT})
    conv = fidelity.layers[0]
    assert (conv.stored_as, conv.faults) == ("int8", ())


def test_zeros_that_rounding_adds_do_not_stand_in_for_pruned_ones(sequence_of, inputs_of):
    from paretune.objectives.keras_door import keras

    model = sequence_of((64,), keras.layers.Dense(32, name="dense"))
    dense = Compressed(model, inputs_of(model))
    kernel = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    model.get_layer("dense").set_weights([kernel, np.zeros(32, np.float32)])
    policy = dense.policy(sparsity=0.2, quantization=Quantization.INT4)
    fidelity = dense.read(policy, {"dense": Quantization.INT4}, dense.template.fill(model))
    layer = fidelity.layers[0]
    assert layer.zeros == layer.rounding_zeros > 0.1 * layer.weights
    assert "must have 410 of 2048 weights zero (sparsity 0.2), found 0" in fidelity.faults[0]
    assert layer.distinct <= 15


# What the weights of each layer take in the file


def deflated(array):
    return len(zlib.compress(np.ascontiguousarray(array).tobytes(), 9))


def test_the_bytes_of_a_layer_are_those_of_its_stored_weights_deflated(sequence_of, inputs_of):
    from paretune.objectives.keras_door import keras

    model = sequence_of((8, 8, 3), keras.layers.Conv2D(8, 3, name="conv"), keras.layers.Dense(4, name="head"))
    small = Compressed(model, inputs_of(model))
    conv, head = small.read(small.policy(), {}).layers
    # TensorFlow Lite stores output channels first
    assert conv.deflated_bytes == deflated(model.get_layer("conv").get_weights()[0].transpose(3, 0, 1, 2))
    assert head.deflated_bytes == deflated(model.get_layer("head").get_weights()[0].T)


def test_every_kernel_of_a_layer_counts(net):
    lstm = next(layer for layer in net.read(net.policy(), {}).layers if layer.layer == "lstm")
    kernels = [variable.numpy() for variable in net.model.get_layer("lstm").weights[:2]]
    # stored gate by gate
    gates = sum(deflated(gate.T) for kernel in kernels for gate in np.split(kernel, 4, axis=1))
    assert lstm.deflated_bytes == pytest.approx(gates, rel=0.1)


def test_fewer_bits_take_fewer_bytes(net):
    def bytes_in(form):
        fidelity = net.read(net.policy(quantization=form), {name: form for name, _ in net.policy().entries})
        return {layer.layer: layer.deflated_bytes for layer in fidelity.layers}

    wide, narrow = bytes_in(Quantization.FLOAT32), bytes_in(Quantization.DYNAMIC_INT8)
    assert all(0 < narrow[name] < wide[name] for name in wide)


def test_a_layer_that_is_used_twice_takes_its_bytes_once(inputs_of):
    from paretune.objectives.keras_door import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((16,))
    shared = keras.layers.Dense(16, name="shared")
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(shared(keras.layers.ReLU()(shared(inputs)))))
    twice = Compressed(model, inputs_of(model))
    assert twice.read(twice.policy(), {}).layers[0].deflated_bytes == deflated(shared.get_weights()[0].T)
