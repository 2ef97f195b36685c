from collections.abc import Callable
from contextlib import contextmanager

import pytest

from paretune.search.simulation import MemoryLedger
from tests.contracts.ledger import FullDiskContract, LedgerContract


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def ledger(self) -> MemoryLedger:
        return MemoryLedger()

    @pytest.fixture
    def reopened(self) -> Callable[[MemoryLedger], MemoryLedger]:
        return MemoryLedger.reopened


class TestMemoryLedgerOnAFullDisk(FullDiskContract):
    @pytest.fixture
    def ledger(self) -> MemoryLedger:
        return MemoryLedger()

    @pytest.fixture
    def full_disk(self, ledger: MemoryLedger) -> Callable:
        @contextmanager
        def full():
            ledger.disk_is_full = True
            yield
            ledger.disk_is_full = False

        return full
