"""The IDX file format of MNIST and its descendants.

    bytes 0-1      zero
    byte  2        item type: 08 unsigned byte, 09 signed byte, 0B int16, 0C int32,
                   0D float32, 0E float64
    byte  3        number of dimensions d
    bytes 4-4d+3   the d sizes, each a big-endian 32-bit unsigned integer
    the rest       the items, last dimension fastest

Bytes 0 to 3 are the magic number: 00000803 for images (count, height, width) and
00000801 for labels (count), the only two in use here. Files are read strictly: the sizes
must account for every byte that follows. Source: LeCun, Cortes & Burges (1998),
http://yann.lecun.com/exdb/mnist/, "File formats for the MNIST database".
"""

import gzip
import io
import math
import zlib

import numpy as np
from jaxtyping import UInt8

from deqlab.tasks.files.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"  # an IDX file starts with zeros, so the two cannot be confused
_UNSIGNED_BYTE = 0x08
_OTHER_ITEMS = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


def decompress(data: bytes, *, where: str, max_bytes: int) -> bytes:
    """Undo gzip, if `data` is gzipped at all.

    Args:
        data: The bytes of a file, gzipped or not.
        where: The file's name, for the error message.
        max_bytes: The most bytes to expect. One more is produced if there are more, so
            that a small file that expands without end is noticed and not followed.

    Returns:
        The uncompressed bytes, cut off after `max_bytes` + 1 if they came out of gzip.

    Raises:
        DataError: The gzip stream is truncated or damaged.
    """
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return stream.read(max_bytes + 1)
    except EOFError as error:
        raise DataError(
            f"{where} is truncated: its gzip stream breaks off after {len(data)} bytes; "
            "delete the file and fetch it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{where} is damaged: {error} in its gzip stream of {len(data)} bytes; "
            "delete the file and fetch it again"
        ) from error


def parse(data: bytes, *, num_dims: int, where: str) -> UInt8[np.ndarray, "..."]:
    """Read the uncompressed bytes of an IDX file of unsigned bytes.

    Args:
        data: The whole file, uncompressed.
        num_dims: The number of dimensions it must have, at least 1: 3 for images, 1 for labels.
        where: The file's name, for the error message.

    Returns:
        The items, in the shape that the header gives; a read-only view of `data`.

    Raises:
        DataError: The magic number is not that of unsigned bytes in `num_dims` dimensions,
            or the file is shorter or longer than its header says.
    """
    _check_magic(data[:4], num_dims=num_dims, where=where)
    start = 4 + 4 * num_dims
    if len(data) < start:
        raise DataError(
            f"{where} is truncated: it ends after {len(data)} bytes, within its header of "
            f"{start}; replace it with the original"
        )
    shape = tuple(int(size) for size in np.frombuffer(data[4:start], dtype=">u4"))
    promised, found = math.prod(shape), len(data) - start
    if found != promised:
        sizes = " x ".join(str(size) for size in shape)
        raise DataError(
            f"{where} {'is truncated' if found < promised else 'has trailing bytes'}: its header "
            f"promises {sizes} = {promised} bytes of items, and {found} follow; "
            "replace it with the original"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def _check_magic(magic: bytes, *, num_dims: int, where: str) -> None:
    expected = bytes([0, 0, _UNSIGNED_BYTE, num_dims])
    if magic == expected:
        return
    if len(magic) < 4:
        reason = f"is truncated: it has {len(magic)} bytes where the magic number takes 4"
    elif magic[:2] == b"\0\0" and magic[2] in _OTHER_ITEMS:
        reason = f"holds items of type {_OTHER_ITEMS[magic[2]]}, where unsigned bytes are expected"
    elif magic[:3] == expected[:3]:
        reason = f"has {magic[3]} dimensions, where {num_dims} are expected"
    else:
        reason = "is not an IDX file"
    found = f"0x{magic.hex()}" if magic else "nothing"
    raise DataError(
        f"{where} {reason} (magic number {found}, expected 0x{expected.hex()}); "
        "replace it with the original"
    )
