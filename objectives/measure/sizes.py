"""How many bytes a ``.tflite`` file takes: as it is, deflated, and at best."""

import zlib

import numpy as np

from paretune.objectives.flatbuffer.graph import read_graph

#: zlib's strongest level: what app stores, package managers and web servers come close to.
_LEVEL = 9


def deflated_bytes(content: bytes | bytearray) -> int:
    """Return how many bytes ``content`` takes when it is deflated."""
    return len(zlib.compress(content, _LEVEL))


def file_sizes(model: bytes) -> dict[str, float]:
    """Measure a file.

    Returns:
        * ``raw_bytes``: its length;
        * ``size_bytes``: its length deflated (zlib, level 9);
        * ``entropy_bytes``: what an ideal coder of single elements would need. For every constant, elements times the
          Shannon entropy of its values (of its 4-bit integers where it holds such), rounded up to whole bytes; plus
          everything else in the file, deflated. A code book is not counted, so clustered weights come out a little
          too small; repeated sequences are not used, so deflate can undercut it.
    """
    rest = bytearray(model)
    bits = 0.0
    seen: set[int] = set()
    graph = read_graph(model)
    cut: list[tuple[int, int]] = []
    for tensor in graph.all_tensors():
        if not tensor.is_constant or tensor.buffer in seen:
            continue
        seen.add(tensor.buffer)
        bits += 8 * np.ceil(_entropy_bits(graph.stored(tensor)) / 8)
        cut.append((tensor.offset, tensor.length))
    for offset, length in sorted(cut, reverse=True):
        del rest[offset : offset + length]
    return {
        "size_bytes": float(deflated_bytes(model)),
        "raw_bytes": float(len(model)),
        "entropy_bytes": float(bits / 8 + deflated_bytes(rest)),
    }


def _entropy_bits(elements: np.ndarray) -> float:
    """Return the Shannon entropy of all elements together, in bits; bit patterns count, so 0.0 and -0.0 differ."""
    patterns = np.ascontiguousarray(elements).reshape(-1)
    patterns = patterns.view(f"u{patterns.dtype.itemsize}")
    _, counts = np.unique(patterns, return_counts=True)
    share = counts / counts.sum()
    return float(-(counts * np.log2(share)).sum())
