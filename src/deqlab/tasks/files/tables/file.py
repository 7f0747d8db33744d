"""A file of the user's that is asked for again and again: read once, and known by a checksum."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.tables.samples import Samples, read_samples


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A table of samples in a file.

    Attributes:
        name: The path of the file, as the user wrote it.
        label: The name of the column or array of labels; see `read_samples`.
    """

    name: str
    label: str | None = None

    def load(self) -> Samples:
        """Return the samples; a file that has not changed is not read again.

        Raises:
            DataError: As `read_samples` does.
        """
        return _read(self, *self._version())

    def checksum(self) -> str:
        """Return the sha256 checksum of the file, in hexadecimal.

        Raises:
            DataError: There is no such file, or it cannot be read.
        """
        try:
            with Path(self.name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(
                f"{self.name} does not exist, or cannot be read ({error.strerror})"
            ) from error

    def _version(self) -> tuple[int, ...]:
        """Return what changes with the content of the file; nothing if there is no file."""
        try:
            found = Path(self.name).stat()
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1)
def _read(file: TableFile, *version: int) -> Samples:
    # Large files take seconds, and are asked for at each draw.
    return read_samples(Path(file.name), label=file.label)
