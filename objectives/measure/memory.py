"""Memory of this process."""

import ctypes

_C_LIBRARY = ctypes.CDLL(None)


def give_back_freed_memory() -> None:
    """Return to the system what the C allocator keeps of freed memory.

    glibc keeps freed blocks below others that are still in use; the buffers of a training leave hundreds of megabytes
    there. Other C libraries have no such call and need none.
    """
    trim = getattr(_C_LIBRARY, "malloc_trim", None)
    if trim is not None:
        trim(0)
