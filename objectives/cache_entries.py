"""Entries of a cache on the disk: whole or a miss."""

import hashlib
import os
from pathlib import Path

_DIGEST_BYTES = hashlib.sha256().digest_size


def read_entry(path: Path) -> bytes | None:
    """Return what :func:`write_entry` wrote; ``None`` where there is nothing, or not what was written."""
    try:
        entry = path.read_bytes()
    except OSError:
        return None
    digest, contents = entry[:_DIGEST_BYTES], entry[_DIGEST_BYTES:]
    return contents if hashlib.sha256(contents).digest() == digest else None


def write_entry(path: Path, contents: bytes) -> None:
    """Write an entry under its name at once; readers and other writers see it whole or not at all.

    It is not flushed to the disk: what a crash leaves behind half written does not have its digest, and is a miss.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_bytes(hashlib.sha256(contents).digest() + contents)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # on a full disk, half a file must not stay
