"""Keep files runnable whose weights are stored in blocks, some of which are all zero.

Blocks have scales in half precision. ai-edge-quantizer 0.10 gives a block without any non-zero weight the scale
1e-9 / 7, which is zero there, and XNNPACK refuses to load a file with a scale of zero. High sparsity makes such blocks
common. The scale of a block of zeros says nothing, so an ordinary one is written into the file.
"""

import numpy as np

from paretune.objectives.flatbuffer.graph import read_graph


def mend_zero_blocks(quantized: bytes) -> bytes:
    """Return the file with no block whose scale is zero; a file without such blocks is returned as it is.

    Weights so small that their scale came out as zero become zero, as they are with that scale.

    Args:
        quantized: As ai-edge-quantizer wrote it.
    """
    file = bytearray(quantized)
    graph = read_graph(file)
    for tensor in graph.all_tensors():
        if not tensor.block_size:
            continue
        scales = graph.stored(graph.tensors[tensor.subgraph][tensor.block_scales]).reshape(-1)
        lost = scales == 0
        if lost.any():
            scales[lost] = np.median(scales[~lost]) if not lost.all() else 1
            # two weights a byte: a block is a whole number of bytes
            packed = np.frombuffer(file, np.uint8, tensor.length, tensor.offset)
            packed.reshape(scales.size, -1)[lost] = 0
    return bytes(file)
