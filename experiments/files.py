"""Files that are either whole or not there."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paretune.spaces.errors import RunError


def write_atomically(path: Path, contents: bytes) -> None:
    """Write a file so that, whatever happens, its name holds the old contents or the new ones.

    The bytes are on the disk before the name changes (fsync of the file), and the name is on the disk before this
    returns (fsync of the folder).

    Raises:
        RunError: If the file cannot be written: the disk is full, the folder is missing or read-only.
    """
    with disk_errors(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(contents)
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a write to ``path`` into one line.

    Raises:
        RunError: Instead of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise RunError(_in_words(error, path)) from error


def no_space(path: Path) -> str:
    """Return what a full disk is answered with."""
    return (
        f"No space left in {path.parent} while writing {path.name}. "
        "Free some and run the same command again; nothing finished is lost."
    )


def _in_words(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_space(path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} cannot be written: {error.strerror}. Change the permissions or choose another folder."
    return f"{path} cannot be written: {error.strerror or error}."


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
