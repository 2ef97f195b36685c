"""Number formats that a layer can have in the exported file."""

from enum import StrEnum


class Quantization(StrEnum):
    """Number format of one layer in the exported file.

    ``dynamic_int8``, ``int4`` and ``int4_block`` store integer weights and keep float activations; ``int8``,
    ``int8_qat`` and ``int16x8`` compute in integers, with activation ranges fixed at export (static). ``int4`` has a
    scale for each output channel, ``int4_block`` one for each block of
    :data:`BLOCK_WEIGHTS` weights of a channel.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    DYNAMIC_INT8 = "dynamic_int8"
    INT8 = "int8"
    INT8_QAT = "int8_qat"
    INT16X8 = "int16x8"
    INT4 = "int4"
    INT4_BLOCK = "int4_block"

    @property
    def weight_bits(self) -> int:
        """Bits that one stored weight takes; scales come on top (half a bit a weight in ``int4_block``)."""
        return _WEIGHT_BITS[self]

    @property
    def weight_levels(self) -> int | None:
        """Distinct values one scale can express (symmetric, narrow range), or ``None`` for a float format."""
        return None if self.weight_bits >= 16 else 2**self.weight_bits - 1

    @property
    def is_static(self) -> bool:
        """Whether activations are integers too, so that their ranges must be known at export."""
        return self in (Quantization.INT8, Quantization.INT8_QAT, Quantization.INT16X8)


#: Weights of one output that share a scale in ``int4_block``.
BLOCK_WEIGHTS = 32

_WEIGHT_BITS = {
    Quantization.FLOAT32: 32,
    Quantization.FLOAT16: 16,
    Quantization.DYNAMIC_INT8: 8,
    Quantization.INT8: 8,
    Quantization.INT8_QAT: 8,
    Quantization.INT16X8: 8,
    Quantization.INT4: 4,
    Quantization.INT4_BLOCK: 4,
}
