"""A file as a C array, for firmware that cannot read files: TensorFlow Lite Micro.

The two files are what ``xxd -i`` and TensorFlow's own ``convert_bytes_to_c_source`` give, with three differences: the
array is aligned (TensorFlow Lite Micro reads constants in place), it is ``const`` with external linkage (so that it
stays in flash), and both C and C++ compilers take it.
"""

from collections.abc import Sequence

SOURCE = "model_data.cc"
HEADER = "model_data.h"

#: Larger files get no array: no microcontroller holds them, and compilers take minutes for them.
MOST_BYTES = 4 * 2**20

_BYTES_A_LINE = 16

_HEADER = """\
/* {title}: {length:,} bytes of model.tflite, for TensorFlow Lite Micro.
 * SHA-256 {sha256}
 * Operators to register: {operators}
 */
#ifndef PARETUNE_MODEL_DATA_H_
#define PARETUNE_MODEL_DATA_H_

#ifdef __cplusplus
extern "C" {{
#endif

extern const unsigned char g_model_data[];
extern const unsigned int g_model_data_size;

#ifdef __cplusplus
}}
#endif

#endif /* PARETUNE_MODEL_DATA_H_ */
"""

_SOURCE = """\
/* {title}: see model_data.h. C++11 or C11. */
#include "model_data.h"

#ifndef __cplusplus
#include <stdalign.h>
#endif

alignas(16) const unsigned char g_model_data[{length}] = {{
{lines}
}};
const unsigned int g_model_data_size = {length};
"""


def c_header(model: bytes, *, title: str, sha256: str, operators: Sequence[str]) -> str:
    """Return ``model_data.h``: declares the array and its length, and names the operators that it needs."""
    named = ", ".join(operators) or "unknown"
    return _HEADER.format(title=_in_comment(title), length=len(model), sha256=sha256, operators=_in_comment(named))


def c_source(model: bytes, *, title: str) -> str:
    """Return ``model_data.cc``: the bytes of the file, in order."""
    starts = range(0, len(model), _BYTES_A_LINE)
    lines = "\n".join("  " + _hexadecimal(model[start : start + _BYTES_A_LINE]) for start in starts)
    return _SOURCE.format(title=_in_comment(title), length=len(model), lines=lines)


def _hexadecimal(piece: bytes) -> str:
    return " ".join(f"0x{byte:02x}," for byte in piece)


def _in_comment(text: str) -> str:
    """Return text that neither ends a comment nor continues its line."""
    return " ".join(text.replace("*/", "* /").replace("\\", "/").split())
