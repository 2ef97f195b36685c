"""Where a file is to run: what is worth asking of it there, and which decisions pay."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import Quantization
from paretune.spaces.suggest import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Defaults for one kind of device; whatever an experiment says itself takes precedence.

    Attributes:
        name: In the experiment file.
        objectives: What is traded off.
        device_objectives: The same where the experiment names an attached device; none where that changes nothing.
        no_formats: Why a number format is not offered, by format. One that is not named here is.
        frozen_knobs: Why a knob is not searched, by name. One that is not named here is.
    """

    name: str
    objectives: tuple[str, ...]
    device_objectives: tuple[str, ...] = ()
    no_formats: Mapping[Quantization, str] = field(default_factory=dict)
    frozen_knobs: Mapping[str, str] = field(default_factory=dict)

    @property
    def formats(self) -> tuple[Quantization, ...]:
        """Number formats that it offers."""
        return tuple(form for form in Quantization if form not in self.no_formats)


#: The only formats whose arithmetic Ethos-U takes over.
ETHOS_U_FORMATS = (Quantization.INT8, Quantization.INT8_QAT)

_SLOW = "LiteRT has no fast kernels for it and takes several times as long"
_ROUNDS_MORE = "it takes the bytes of dynamic_int8, which rounds less"
_ON_THE_CPU = "Ethos-U computes in static int8 alone; the layer would run on the processor beside it"
_NO_HYBRID = "TensorFlow Lite Micro has no kernels for integer weights beside float activations"
_NO_HALF = "TensorFlow Lite Micro does not turn float16 weights into float32"
_AS_LONG = "the file in flash is as long and no kernel there is faster for it"
_ONLY_SIZE = "zeros and clusters save more bytes of a download for the accuracy that they cost"

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="cpu",
            objectives=("metric", "size_bytes", "latency_ratio"),
            no_formats={Quantization.INT16X8: _SLOW},
        ),
        Target(
            name="download",
            objectives=("metric", "size_bytes"),
            no_formats={Quantization.INT16X8: _ROUNDS_MORE},
            frozen_knobs={"rank": _ONLY_SIZE},
        ),
        Target(
            name="ethos-u",
            objectives=("metric", "vela_cycles", "vela_size_bytes"),
            no_formats={form: _ON_THE_CPU for form in Quantization if form not in ETHOS_U_FORMATS},
        ),
        Target(
            name="microcontroller",
            objectives=("metric", "raw_bytes", "arena_bytes"),
            no_formats={
                Quantization.FLOAT16: _NO_HALF,
                **{form: _NO_HYBRID for form in Quantization if form.weight_bits <= 8 and not form.is_static},
            },
            frozen_knobs={"sparsity": _AS_LONG, "clusters": _AS_LONG},
        ),
        Target(
            name="android",
            objectives=("metric", "size_bytes", "bit_operations"),
            device_objectives=("metric", "size_bytes", "adb_latency_ms"),
            no_formats={Quantization.INT16X8: _SLOW},
        ),
    )
}


def read_target(name: object) -> Target:
    """Return the target of a name.

    Raises:
        ConfigurationError: If there is none.
    """
    if not isinstance(name, str) or name not in TARGETS:
        raise ConfigurationError(
            f"`target` must be one of {', '.join(TARGETS)}, got {name!r}.{nearest(str(name), list(TARGETS))}"
        )
    return TARGETS[name]
