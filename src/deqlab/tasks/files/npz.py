"""Published arrays in an .npz archive of numpy.

What is verified is the bytes of each array, since the same arrays may be compressed in many ways.
What the headers of the arrays say is compared with the originals before anything is unpacked, so
that a small file cannot fill the memory.
"""

import hashlib
import io
import math
import zipfile
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from deqlab.tasks.files.arrays import members, read_array, read_header
from deqlab.tasks.files.dataset import File
from deqlab.tasks.files.errors import DataError, NotOriginalError

_MOST_BESIDES = 1 << 16  # bytes: the headers of the arrays and of the archive


@dataclass(frozen=True, kw_only=True)
class NpzArray:
    """What one array of an archive must be."""

    key: str
    shape: tuple[int, ...]
    sha256: str  # of its bytes, last dimension fastest, in hexadecimal
    dtype: str = "uint8"

    @property
    def num_bytes(self) -> int:
        """The number of bytes that its items take."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, kw_only=True)
class NpzFile(File):
    """An .npz archive; its content is a tuple of arrays, in the order of `arrays`."""

    arrays: tuple[NpzArray, ...]

    @property
    @override
    def archive(self) -> str:
        return self.name

    @property
    @override
    def most_bytes(self) -> int:
        return sum(array.num_bytes for array in self.arrays) + _MOST_BESIDES

    @property
    @override
    def checksums(self) -> tuple[str, ...]:
        return tuple(array.sha256 for array in self.arrays)

    @override
    def read(self, data: bytes, *, where: str) -> tuple[np.ndarray, ...]:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return tuple(_unpack(archive, array, where=where) for array in self.arrays)
        except NotOriginalError:
            raise
        except Exception as error:  # a damaged zip archive raises a dozen kinds of them
            keys = " and ".join(array.key for array in self.arrays)
            raise DataError(
                f"{where} is truncated or damaged: its {len(data)} bytes cannot be read as an npz "
                f"archive of {keys} ({error}); replace it with the original"
            ) from error


def _unpack(archive: zipfile.ZipFile, original: NpzArray, *, where: str) -> np.ndarray:
    info = members(archive)[original.key]
    with archive.open(info) as stream:
        header = read_header(stream, where=original.key)
        if header.dtype != np.dtype(original.dtype) or header.shape != original.shape:
            raise NotOriginalError(
                f"{where} is not the original: its {original.key} are {header.dtype} of shape "
                f"{header.shape}, expected {original.dtype} of shape {original.shape}; replace it"
            )
        stream.seek(0)
        array = read_array(stream, info.file_size, where=original.key)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    if digest != original.sha256:
        raise NotOriginalError(
            f"{where} is not the original: the sha256 checksum of its {original.key} is "
            f"{digest[:16]}..., expected {original.sha256[:16]}...; replace it with the original",
            checksum=digest,
        )
    return array
