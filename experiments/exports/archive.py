"""The file as a download carries it: deflated, in a ZIP archive that is the same for the same file."""

import io
import zipfile

ARCHIVE = "model.zip"

#: The earliest time that an archive can tell; a real one would make every archive another file.
_NO_TIME = (1980, 1, 1, 0, 0, 0)

#: The level that ``size_bytes`` is measured with.
_LEVEL = 9


def zip_archive(name: str, contents: bytes) -> bytes:
    """Return an archive of one file.

    What it stores compressed is the deflate stream that ``size_bytes`` counts, without zlib's six bytes around it; the
    archive's own headers add about 130 bytes.
    """
    buffer = io.BytesIO()
    entry = zipfile.ZipInfo(name, _NO_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, contents, zipfile.ZIP_DEFLATED, _LEVEL)
    return buffer.getvalue()
