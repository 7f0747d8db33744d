"""The first 4,000 images of CIFAR-10, from one file that has to be put in its place.

The file, cifar10_lossless_4000.npz, holds `images` (4000, 32, 32, 3) and `labels` (4000,) as
unsigned bytes: exactly the first 4,000 entries of data_batch_1. What is verified is the bytes of
the two arrays, since the same arrays may be compressed differently. Source: Krizhevsky (2009),
"Learning Multiple Layers of Features from Tiny Images".
"""

import hashlib
import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from deqlab.tasks.files.arrays import members, read_array, read_header
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.sources import CIFAR10
from deqlab.tasks.files.store import ENVIRONMENT_VARIABLE, listing, search_folders

FILE = "cifar10_lossless_4000.npz"

_MOST_BESIDES = 1 << 16  # bytes: the headers of the arrays and of the archive


@dataclass(frozen=True, kw_only=True)
class Original:
    """What an array of the file must be."""

    key: str
    shape: tuple[int, ...]
    sha256: str  # of its bytes, last dimension fastest, in hexadecimal


ORIGINALS = (
    Original(
        key="images",
        shape=(4000, 32, 32, 3),
        sha256="bac45b45504ed1289a3f437be4bfbefece248abbc094a428a0b4dfab00e776ae",
    ),
    Original(
        key="labels",
        shape=(4000,),
        sha256="2c365f60663d4e0eae47b2e7e1f85bef4375b295095eff8ce46a32be9415473c",
    ),
)

Arrays = tuple[UInt8[np.ndarray, "n height width 3"], UInt8[np.ndarray, " n"]]
"""Images and labels."""


def read_arrays(data_dir: Path | None = None, originals: Sequence[Original] = ORIGINALS) -> Arrays:
    """Return the images and labels, verified.

    Args:
        data_dir: The user's folder; if None, that of DEQLAB_DATA, if it is set.
        originals: What the file must hold.

    Raises:
        DataError: The file is absent, unreadable, or not the original.
    """
    path = find(data_dir)
    if path is None:
        raise DataError(absent(data_dir))
    return read_file(path, originals)


def find(data_dir: Path | None = None) -> Path | None:
    """Return the first copy of the file, unread, or None if there is none."""
    copies = (folder / FILE for folder in search_folders(CIFAR10, data_dir))
    return next((path for path in copies if path.is_file()), None)


def absent(data_dir: Path | None = None) -> str:
    """Return the sentence that says where the file was looked for, and where to put it."""
    folders = search_folders(CIFAR10, data_dir)
    return (
        f"{CIFAR10} is not on this machine (looked in {listing(folders)}) and has no download; "
        f"put {FILE} into {folders[-1]}, or point --data-dir or {ENVIRONMENT_VARIABLE} at a "
        f"folder that holds {CIFAR10}/"
    )


def read_file(path: Path, originals: Sequence[Original] = ORIGINALS) -> Arrays:
    """Return the images and labels of one file, verified.

    What the headers of the arrays say is compared with the originals before they are unpacked, so
    that a small file cannot fill the memory.

    Raises:
        DataError: The file is unreadable, truncated, damaged, or not the original.
    """
    most = sum(math.prod(original.shape) for original in originals) + _MOST_BESIDES
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from error
    if len(data) > most:
        raise DataError(
            f"{path} is not the original: it has more than {most} bytes; replace it with the "
            "original"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            images, labels = (_unpack(archive, one, where=str(path)) for one in originals)
    except OtherArrayError:
        raise
    except Exception as error:  # a damaged zip archive raises a dozen kinds of them
        raise DataError(
            f"{path} is truncated or damaged: its {len(data)} bytes cannot be read as an npz "
            f"archive of images and labels ({error}); replace it with the original"
        ) from error
    return images, labels


class OtherArrayError(DataError):
    """An array is sound, and not the original."""


def _unpack(archive: zipfile.ZipFile, original: Original, *, where: str) -> np.ndarray:
    info = members(archive)[original.key]
    with archive.open(info) as stream:
        header = read_header(stream, where=original.key)
        if header.dtype != np.uint8 or header.shape != original.shape:
            raise OtherArrayError(
                f"{where} is not the original: its {original.key} are {header.dtype} of shape "
                f"{header.shape}, expected uint8 of shape {original.shape}; replace it"
            )
        stream.seek(0)
        array = read_array(stream, info.file_size, where=original.key)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    if digest != original.sha256:
        raise OtherArrayError(
            f"{where} is not the original: the sha256 checksum of its {original.key} is "
            f"{digest[:16]}..., expected {original.sha256[:16]}...; replace it with the original"
        )
    return array
