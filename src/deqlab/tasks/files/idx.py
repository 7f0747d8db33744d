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
import hashlib
import io
import math
import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from typing_extensions import override

from deqlab.tasks.files.dataset import File
from deqlab.tasks.files.errors import DataError, NotOriginalError

_GZIP_MAGIC = b"\x1f\x8b"  # an IDX file starts with zeros, so the two cannot be confused
_UNSIGNED_BYTE = 0x08
_OTHER_ITEMS = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


@dataclass(frozen=True, kw_only=True)
class IdxFile(File):
    """An IDX file, which may be gzipped; `name` is without ".gz".

    What is verified is the uncompressed bytes: the same items are in circulation under several
    compressions.

    Attributes:
        sha256: The checksum of the uncompressed bytes, in hexadecimal.
        shape: The sizes of the items: (count, height, width) of images, (count,) of labels.
    """

    sha256: str
    shape: tuple[int, ...]

    @property
    @override
    def archive(self) -> str:
        return f"{self.name}.gz"

    @property
    def num_bytes(self) -> int:
        """The number of uncompressed bytes: 4, then 4 for each size, then the items."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)

    @property
    @override
    def most_bytes(self) -> int:
        # What gzip adds at worst is under 1 in 1000.
        return self.num_bytes + (1 << 16)

    @property
    @override
    def checksums(self) -> tuple[str, ...]:
        return (self.sha256,)

    @override
    def read(self, data: bytes, *, where: str) -> UInt8[np.ndarray, "..."]:
        raw = decompress(data, where=where, max_bytes=self.num_bytes)
        if len(raw) > self.num_bytes:
            raise NotOriginalError(
                f"{where} is not the original: it holds more than the {self.num_bytes} "
                f"uncompressed bytes of {self.name}; delete the file and fetch it again"
            )
        items = parse(raw, num_dims=len(self.shape), where=where)
        digest = hashlib.sha256(raw).hexdigest()
        if digest != self.sha256:
            raise NotOriginalError(
                f"{where} is not the original: the sha256 checksum of its uncompressed bytes is "
                f"{digest[:16]}..., expected {self.sha256[:16]}...; delete the file and fetch it "
                "again",
                checksum=digest,
            )
        return items


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
