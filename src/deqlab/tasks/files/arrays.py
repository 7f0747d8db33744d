"""Arrays from .npy files and the members of .npz archives, whatever those contain.

A header says which array follows. It is compared with the bytes that do follow, and with the
memory that is free, before any is taken: a header may claim 1e12 numbers, and a member of a zip
archive may be a thousand times as large as what it is packed into. Nothing is ever unpickled,
since that runs what a file holds. Format: numpy.lib.format.
"""

import io
import math
import zipfile
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.memory import require_memory

ENDING = ".npy"
"""How the name of a member of an .npz archive ends; the name of its array stands before it."""

# By version: the number of bytes that give the header's length, and what reads the header.
_HEADERS = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
_LONGEST_HEADER = 10_000  # numpy's own limit, which numpy checks only after reading up to 4 GB
_BYTES_LATER = 8
"""The bytes that a number takes once it is float64, and a class once it is int64."""
_NO_SUCH_SIZE = 2**63


@runtime_checkable
class Stream(Protocol):
    """The methods that open files and open members of archives have in common."""

    def read(self, size: int = -1, /) -> bytes:
        """Read so many bytes, or all that follow."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to another place."""

    def tell(self) -> int:
        """Return the place."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The size and the type that a header gives to its array.

    Attributes:
        shape: The sizes of the array, none of them negative.
        dtype: The type of its items, in any byte order.
        num_bytes: The number of bytes that the items take.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    num_bytes: int


def read_header(stream: Stream, *, where: str) -> Header:
    """Read the header at the beginning of a stream, and stay behind it.

    Raises:
        DataError: It is of a version or a type that is not read here.
        ValueError: It is no header; the kinds of damage are many, and EOFError, SyntaxError and
            RecursionError are others.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise DataError(
            f"{where} is in version {version[0]}.{version[1]} of numpy's format, and 1.0 and 2.0 "
            "are read here; save a plain array"
        )
    num_bytes, read = _HEADERS[version]
    length = int.from_bytes(stream.read(num_bytes), "little")
    if length > _LONGEST_HEADER:
        raise DataError(f"{where} is damaged: its header says that it has {length} bytes")
    stream.seek(-num_bytes, io.SEEK_CUR)
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise DataError(
            f"{where} cannot be read: it holds Python objects, and to read them is to run what the "
            "file says; save an array of numbers, or of strings"
        )
    size = math.prod(shape) * dtype.itemsize
    if not all(0 <= number < _NO_SUCH_SIZE for number in (*shape, size)):
        raise DataError(f"{where} is damaged: its header says a size that no array has")
    return Header(shape=shape, dtype=dtype, num_bytes=size)


def read_array(stream: Stream, size: int, *, where: str) -> np.ndarray:
    """Read the one array of a stream.

    Args:
        stream: An open .npy file, at its beginning; it can seek.
        size: The number of bytes of the file.
        where: The file, and the member if it is one of an archive, for error messages.

    Returns:
        The array, in the byte order and the order of dimensions that it was saved in.

    Raises:
        DataError: The header and the bytes do not agree, or memory does not suffice.
        ValueError: As `read_header`; and zlib.error and zipfile.BadZipFile of an archive.
    """
    header = read_header(stream, where=where)
    found = size - stream.tell()
    if found != header.num_bytes:
        raise DataError(
            f"{where} is damaged: its header says {shown(header)}, which takes "
            f"{header.num_bytes} bytes, and {found} follow; save it again"
        )
    count = math.prod(header.shape)
    require_memory(header.num_bytes + _BYTES_LATER * count, where=f"{where} ({shown(header)})")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the arrays of an archive by name, unread."""
    return {
        info.filename.removesuffix(ENDING): info
        for info in archive.infolist()
        if info.filename.endswith(ENDING)
    }


def shown(header: Header) -> str:
    """Say what an array is, briefly: 64 dimensions and a record of 1e4 fields are possible."""
    sizes = " x ".join(map(str, header.shape[:4])) or "a single item"
    more = " x ..." if len(header.shape) > 4 else ""
    return f"{sizes}{more} of {type_of(header.dtype)}"


def type_of(dtype: np.dtype) -> str:
    """Name a type of items, whatever its fields are called."""
    return "records" if dtype.fields else dtype.name
