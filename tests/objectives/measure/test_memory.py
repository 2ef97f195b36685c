"""Memory that was freed goes back to the system."""

import numpy as np
import psutil
import pytest

from paretune.objectives.measure import memory
from paretune.objectives.measure.memory import give_back_freed_memory


def resident_megabytes() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


@pytest.mark.skipif(not hasattr(memory._C_LIBRARY, "malloc_trim"), reason="only glibc keeps freed memory so")
def test_what_lies_below_a_block_in_use_is_given_back() -> None:
    blocks = [np.ones(8000) for _ in range(2000)]  # 64 kB each: from the heap, not mapped one by one
    last = blocks[-1]
    full = resident_megabytes()
    del blocks[:]
    kept = resident_megabytes()
    give_back_freed_memory()
    assert full - kept < 60
    assert full - resident_megabytes() > 100
    assert last.sum() == 8000


def test_other_c_libraries_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_C_LIBRARY", object())
    give_back_freed_memory()
