"""The lines of a text as cells, separated by commas, semicolons or tabs.

Python's csv module takes them apart, in its strict mode, so that quoted cells may hold separators
and line ends, and a quote that is never closed is an error. Which separator it is follows from
the first two lines; csv.Sniffer is not asked, since it takes the decimal commas of "1,5;2,5" for
separators and fails on a single column. Files are UTF-8, with a byte-order mark or without, or
UTF-16, as spreadsheets write it.
"""

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeAlias

from deqlab.tasks.files.errors import DataError

SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
"""In the order in which they are tried: a comma may be a decimal comma, a tab is nothing else."""

Record: TypeAlias = tuple[int, list[str]]
"""The line in which a record begins, counted from 1, and its cells."""


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """Open a file of text.

    Raises:
        DataError: It turns out to be in another encoding.
    """
    with path.open("rb") as file:
        encoding = _encoding(file.read(4))
    try:
        with path.open(encoding=encoding, newline="") as text:
            yield text
    except UnicodeError as error:
        raise DataError(f"{path} is not UTF-8{_undecodable(path)}; save it as UTF-8") from error


def _encoding(start: bytes) -> str:
    """Return the encoding of a text by its first 4 bytes."""
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if start[1::2] == b"\0\0" and all(start[::2]):  # two ASCII letters, without a mark
        return "utf-16-le"
    if start[::2] == b"\0\0" and all(start[1::2]):
        return "utf-16-be"
    return "utf-8-sig"


def separator_of(file: TextIO) -> str:
    """Return the first of `SEPARATORS` that makes the first two lines equally long.

    Without such a one it is that which makes most of the first line, and the reader of the lines
    will find the second one too short or too long.
    """
    most, widest = 1, ","
    for separator in SEPARATORS:
        file.seek(0)
        try:
            sizes = [len(cells) for _, cells in islice(records(file, separator, where=""), 2)]
        except DataError:
            continue  # a quoted cell that ends in another separator
        if sizes and 1 < min(sizes) == max(sizes):
            widest = separator
            break
        if sizes and sizes[0] > most:
            most, widest = sizes[0], separator
    file.seek(0)
    return widest


def records(file: TextIO, separator: str, *, where: str) -> Iterator[Record]:
    """Yield the cells of one record after the other.

    Blank lines are passed over, but for those between the records of a single column, where they
    are an empty cell.

    Raises:
        DataError: A quote is not closed, or closed within a cell.
    """
    reader = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
    begun, blank = False, 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{where}, line {line}: {error}; look at its quotes") from error
        if len(cells) < 2 and not "".join(cells).strip():
            blank = blank or (line if begun else 0)
            continue
        if blank and len(cells) == 1:
            raise DataError(f"{where} is empty in line {blank}; fill it in, or remove the line")
        begun = True
        yield line, cells


def _undecodable(path: Path) -> str:
    """Say which byte is none of UTF-8's; the decoder counts from wherever it began to read."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f" (byte 0x{line[error.start]:02x} in line {number})"
    return ""
