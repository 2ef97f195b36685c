"""SQLite as a ledger needs it: durable for its one writer, open to readers at any time."""

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, StaticPool, create_engine, event

_PATIENCE_SECONDS = 30


def writing_engine(path: Path) -> Engine:
    """Return an engine with one connection, whose commits have reached the disk when they return."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=_PATIENCE_SECONDS, check_same_thread=False, isolation_level=None)

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    event.listen(engine, "connect", _make_durable)
    event.listen(engine, "begin", _begin)
    return engine


def reading_engine(path: Path) -> Engine:
    """Return an engine that changes nothing, beside a writer or on a read-only disk."""

    def connect() -> sqlite3.Connection:
        # Readers and the writer share memory through a file in the folder. Where that cannot be made there is no
        # writer either, and SQLite may take the file as it is.
        is_alone = not Path(f"{path}-wal").exists() and not os.access(path.parent, os.W_OK)
        mode = "mode=ro&immutable=1" if is_alone else "mode=ro"
        uri = f"{path.absolute().as_uri()}?{mode}"
        return sqlite3.connect(uri, uri=True, timeout=_PATIENCE_SECONDS, isolation_level=None)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", _begin)
    return engine


def _make_durable(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # Python's sqlite3 begins a transaction at the first write; a reader needs one for a consistent view, too
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html (serializable isolation, savepoints, transactional DDL)
    connection.exec_driver_sql("BEGIN")
