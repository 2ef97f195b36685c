"""The working copy: the user's model rewritten so that every layer can be reached, with the same outputs.

tfmot looks at one flat functional graph. So nested models are unrolled into it, and a ReLU that stands alone behind its
layer is folded in, because tfmot's quantization-aware training would otherwise quietly skip that layer. Nothing else
changes, which is checked on random inputs.
"""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paretune.objectives.data.signature import consumers
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.kernels.weights import COMPRESSIBLE_KINDS
from paretune.objectives.working_copy.equivalence import TOLERANCE, require_equal_outputs
from paretune.objectives.working_copy.replay import replay, replay_model
from paretune.spaces.errors import ModelRefused

_REDUCED_TYPES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
_FOLDS_RELU = ("Conv2D", "DepthwiseConv2D", "Dense")

#: A model of another type than float32 differs from its copy by what that type rounds off.
_TOLERANCE_OF_REDUCED_TYPES = 5e-2


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """A model that policies can be applied to.

    Attributes:
        model: Flat functional float32 tf_keras model, uncompiled; shares nothing with the user's.
        notes: What differs from the user's model, and what to know about it, one sentence each.
    """

    model: Any
    notes: tuple[str, ...]


def prepare_working_copy(model: Any) -> WorkingCopy:
    """Copy a functional or Sequential model into a flat float32 graph with the same outputs; ``model`` is only read.

    Raises:
        ModelRefused: It is a subclassed or unbuilt model, is stateful, takes text, has a layer that cannot be copied,
            or the copy's outputs differ.
    """
    _refuse_unsupported(model)
    flattening = _Flattening(model.input_names)
    flat = replay_model(model, flattening.call)
    folding = _Folding(flat)
    copied = replay_model(flat, folding.call)
    notes = [*flattening.notes(), *folding.notes(), *_notes_on_scaling(copied)]
    require_equal_outputs(model, copied, tolerance=flattening.tolerance)
    return WorkingCopy(copied, tuple(notes))


def _refuse_unsupported(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise ModelRefused(f"The model must be a tf_keras model, got {type(model).__module__}.{type(model).__name__}.")
    for layer in _walk(model):
        if isinstance(layer, keras.Model) and not getattr(layer, "_is_graph_network", False):
            if isinstance(layer, keras.Sequential):
                raise ModelRefused(
                    f"Model '{layer.name}' must know the shape of its input; begin it with keras.Input(shape)."
                )
            raise ModelRefused(
                f"Model '{layer.name}' must be functional or Sequential, got the subclass {type(layer).__name__}; "
                "build it with keras.Model(inputs, outputs)."
            )
        if getattr(layer, "stateful", False) and not isinstance(layer, keras.Model):
            raise ModelRefused(f"Layer '{layer.name}' must not be stateful; rebuild it with stateful=False.")
    for tensor in model.inputs:
        if tensor.dtype == tf.string:
            raise ModelRefused(f"Input '{tensor.name}' must take numbers, got text; vectorize the text beforehand.")


def _walk(model: Any) -> list[Any]:
    """Return a model and all its layers, those of nested models included."""
    found = [model]
    for layer in getattr(model, "layers", ()):
        found += _walk(layer) if isinstance(layer, keras.Model) else [layer]
    return found


class _Flattening:
    """Unroll nested models; make every layer float32 and every compressible one trainable."""

    def __init__(self, input_names: Iterable[str]) -> None:
        self._copies: dict[int, Any] = {}
        self._names = set(input_names)
        self._path: tuple[str, ...] = ()
        self._training: Any = None
        self._unrolled: list[str] = []
        self._unfrozen: list[str] = []
        self._reduced_types: set[str] = set()

    @property
    def tolerance(self) -> float:
        """By how much outputs may differ from the original's."""
        return _TOLERANCE_OF_REDUCED_TYPES if self._reduced_types - {"float64"} else TOLERANCE

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(layer, keras.Model):
            return self._unroll(layer, args, kwargs)
        if isinstance(layer, keras.layers.MultiHeadAttention):
            args, kwargs = _by_name(layer, args, kwargs)
        if id(layer) not in self._copies:
            self._copies[id(layer)] = self._copy(layer)
        copy = self._copies[id(layer)]
        if self._training is not None and copy._call_spec.expects_training_arg and len(args) == 1:
            # what the nested model was called with, such as the training=False of a frozen backbone
            kwargs = {**kwargs, "training": self._training if kwargs.get("training") is None else kwargs["training"]}
        return _call_with_weights(copy, layer, args, kwargs)

    def notes(self) -> list[str]:
        notes = [f"Nested model '{name}' was flattened; its layers are called {name}_..." for name in self._unrolled]
        if self._unfrozen:
            names = ", ".join(self._unfrozen[:3]) + (", ..." if len(self._unfrozen) > 3 else "")
            notes.append(f"Frozen layers can be retrained after compression ({len(self._unfrozen)}): {names}.")
        if self._reduced_types:
            notes.append(f"Layers of type {', '.join(sorted(self._reduced_types))} were made float32.")
        return notes

    def _unroll(self, nested: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs = nested._flatten_to_reference_inputs(args[0] if args else kwargs["inputs"])
        outside = self._path, self._training
        self._path = (*self._path, nested.name)
        self._training = self._training if kwargs.get("training") is None else kwargs["training"]
        name = "_".join(self._path)
        if name not in self._unrolled:
            self._unrolled.append(name)
        outputs = replay(nested, inputs, self.call)
        self._path, self._training = outside
        return tf.nest.pack_sequence_as(nested._nested_outputs, outputs)

    def _copy(self, layer: Any) -> Any:
        name = unique = "_".join((*self._path, layer.name))
        while unique in self._names:
            unique = f"{name}_{len(self._names)}"
        self._names.add(unique)
        try:
            config = {**self._in_float32(layer.get_config()), "name": unique}
            if type(layer).__name__ in COMPRESSIBLE_KINDS and not layer.trainable:
                config["trainable"] = True
                self._unfrozen.append(unique)
            return type(layer).from_config(config)
        except Exception as error:  # whatever a layer of the user's own raises
            raise ModelRefused(
                f"Layer '{layer.name}' ({type(layer).__name__}) cannot be copied; give it get_config. "
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            ) from error

    def _in_float32(self, config: Any) -> Any:
        """Replace reduced types wherever a config or one nested in it names its ``dtype``."""
        if isinstance(config, list | tuple):
            values = [self._in_float32(value) for value in config]
            return tuple(values) if isinstance(config, tuple) else values
        if not isinstance(config, Mapping):
            return config
        plain = {key: self._in_float32(value) for key, value in config.items()}
        dtype = plain.get("dtype")
        dtype = dtype["config"].get("name") if isinstance(dtype, Mapping) and "config" in dtype else dtype
        if dtype in _REDUCED_TYPES:
            self._reduced_types.add(str(dtype))
            plain["dtype"] = "float32"
        return plain


class _Folding:
    """Fold a separate ReLU into the layer before it, where nothing else reads that layer."""

    def __init__(self, flat: Any) -> None:
        self._folded: dict[str, str] = {}
        for layer in flat.layers:
            if _is_plain_relu(layer) and len(layer.inbound_nodes) == 1:
                before = layer.input._keras_history.layer
                if _can_take_relu(before) and len(consumers(before.output, flat)) == 1:
                    self._folded[layer.name] = before.name
        self._folded = {relu: before for relu, before in self._folded.items() if before not in flat.output_names}
        self._copies: dict[str, Any] = {}

    def call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if layer.name in self._folded:
            return args[0]
        if layer.name not in self._copies:
            config = layer.get_config()
            if layer.name in self._folded.values():
                config["activation"] = "relu"
            self._copies[layer.name] = type(layer).from_config(config)
        return _call_with_weights(self._copies[layer.name], layer, args, kwargs)

    def notes(self) -> list[str]:
        return [f"ReLU '{relu}' was folded into '{before}'." for relu, before in self._folded.items()]


def _by_name(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a call that names all arguments but the first: tfmot's wrappers take a second for ``training``."""
    _, *names = inspect.signature(layer.call).parameters
    return args[:1], {**dict(zip(names, args[1:], strict=False)), **kwargs}


def _call_with_weights(copy: Any, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call ``copy``; the first call creates its weights, which then take the values of those of ``layer``."""
    is_known = copy.built and len(copy.inbound_nodes) > 0
    outputs = copy(*args, **kwargs)
    if not is_known and layer.weights:
        copy.set_weights(layer.get_weights())
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()
    return outputs


def _is_plain_relu(layer: Any) -> bool:
    if isinstance(layer, keras.layers.ReLU):
        return layer.max_value is None and not layer.negative_slope and not layer.threshold
    return isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu


def _can_take_relu(layer: Any) -> bool:
    return (
        type(layer).__name__ in _FOLDS_RELU
        and layer.activation is keras.activations.linear
        and len(layer.inbound_nodes) == 1
    )


def _notes_on_scaling(model: Any) -> list[str]:
    return [
        f"{type(layer).__name__} '{layer.name}' stays in the model as float32."
        for layer in model.layers
        if type(layer).__name__ in ("Rescaling", "Normalization")
    ]
