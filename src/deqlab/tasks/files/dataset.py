"""What a data set is: what it holds, where it comes from, and how its files become a value.

A `Dataset` is a description that reads nothing itself. `registry` knows all of them, `store`
finds, verifies and downloads their files, and `loading.load` hands the content of the files to
`Dataset.make`. The value can be of any type: images, a text, a graph, a table. No module but the
data set's own file has to know which.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class File(ABC):
    """A published file: its name, and a way to read its bytes and to verify them.

    There is one subclass for each format; `idx.IdxFile` and `npz.NpzFile` are two.
    """

    name: str

    @property
    @abstractmethod
    def archive(self) -> str:
        """The name under which the file is published; a copy may also be called `name`."""

    @property
    @abstractmethod
    def most_bytes(self) -> int:
        """The number of bytes that no copy of the file exceeds."""

    @property
    @abstractmethod
    def checksums(self) -> tuple[str, ...]:
        """The sha256 checksums by which the content is recognised, in hexadecimal."""

    @abstractmethod
    def read(self, data: bytes, *, where: str) -> Any:  # noqa: ANN401
        """Return the content of the file, verified.

        Args:
            data: The bytes of a copy.
            where: Its path or address, for the error message.

        Raises:
            NotOriginalError: The bytes are sound, and not those that were published.
            DataError: They are truncated, damaged, or in another format.
        """


@dataclass(frozen=True, kw_only=True)
class Dataset(Generic[Value]):
    """A data set: a name, what it holds, where it comes from, and how it is made of its files.

    Attributes:
        name: The name by which `load` and the command line know it.
        kind: The type of the value that `make` returns.
        splits: The number of samples in each part, such as {"train": 60_000, "test": 10_000}.
        shape: The shape of one sample.
        num_classes: The number of classes; None if the samples have none.
        source: Who made it: authors and year, or the paper.
        licence: Under what terms it may be used.
        bundled_with: The package that brings it along, if there are no files to look for.
        files: The files that it is made of.
        mirrors: Folders that serve the files, as URLs that end in "/", tried in this order. If
            there are none, the files have to be put in their place by hand.
        shared_folder: The folder that the files share with those of other sets; None if the set
            has a folder of its own, which then has its name.
        make: Called with the data set itself and the content of each file, in the order of
            `files`; returns the value.
    """

    name: str
    kind: type[Value]
    splits: Mapping[str, int]
    shape: tuple[int, ...]
    num_classes: int | None = None
    source: str
    licence: str
    bundled_with: str | None = None
    files: tuple[File, ...] = ()
    mirrors: tuple[str, ...] = ()
    shared_folder: str | None = None
    make: Callable[..., Value]

    @property
    def folder(self) -> str:
        """The name of the folder that holds the files."""
        return self.shared_folder or self.name
