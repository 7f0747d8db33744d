"""Tables as text: one sample a line, cells separated by commas, semicolons or tabs."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from jaxtyping import Float64

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.memory import require_memory
from deqlab.tasks.files.tables.cells import Numbers, is_number
from deqlab.tasks.files.tables.classes import OPTION, plural, shown
from deqlab.tasks.files.tables.columns import Columns, columns_of, refuse_a_doubt
from deqlab.tasks.files.tables.records import SEPARATORS, Record, opened, records, separator_of

_OFTEN = 512  # pixels have 256 values: looking a number up is three times as fast as float()
_FIRST_ESTIMATE = 1 << 20  # numbers, after which the memory for all of them is estimated
_SEPARATED = "tabs, semicolons or commas separate cells"


@dataclass(frozen=True, kw_only=True, eq=False)
class Text:
    """The content of a file of text.

    Attributes:
        x: The features.
        columns: The names and the roles of the columns.
        labels: The cells of the column of labels; empty if there is no such column.
        index: The cells of the column that names the rows; empty if there is no such column.
        lines: The number of the line in which each sample begins.
        notes: Phrases on how the file was understood, where that is not plain.
    """

    x: Float64[np.ndarray, "n p"]
    columns: Columns
    labels: list[str]
    index: list[str]
    lines: list[int]
    notes: list[str]


def read_delimited(path: Path, label: str | None) -> Text:
    """Read samples and labels.

    Args:
        path: The file.
        label: The name of the column of labels; None chooses as `find_label` does.

    Raises:
        DataError: The file is no such table; the message says in which line and column.
        OSError: It cannot be read.
    """
    where = str(path)
    require_memory(path.stat().st_size, where=where)
    with opened(path) as file:
        separator = separator_of(file)
        rows = records(file, separator, where=where)
        line, first = next(rows, (1, []))
        if not first:
            raise DataError(f"{where} is empty")
        columns = columns_of(first, label, where=where, line=line)
        if not columns.named:
            rows = chain([(line, first)], rows)
        numbers = Numbers(commas=separator != ",")
        text = _collect(file, rows, columns, numbers, where=where)
    _check(text, where=where)
    refuse_a_doubt(columns, text.x, text.labels, where=where, line=line)
    if separator != ",":
        text.notes.append(f"{SEPARATORS[separator]} between cells")
    text.notes.extend([*numbers.notes(where=where), *columns.notes(line)])
    return text


def _collect(
    file: TextIO, rows: Iterator[Record], columns: Columns, numbers: Numbers, *, where: str
) -> Text:
    """Read all samples."""
    values, lines, estimate_at = array("d"), list[int](), _FIRST_ESTIMATE
    texts: dict[int, list[str]] = {place: [] for place in columns.left_out}
    number = lru_cache(maxsize=_OFTEN)(numbers.read)
    size, width = Path(file.name).stat().st_size, len(columns.names)
    for line, cells in rows:
        if len(cells) != width:
            raise DataError(_ragged(line, cells, columns, where=where))
        for place, column in texts.items():  # from the right, so that the places stay right
            column.append(cells.pop(place))
        try:
            values.extend(map(number, cells))
        except ValueError:
            raise DataError(_no_number(line, cells, columns, numbers, where=where)) from None
        lines.append(line)
        if len(values) > estimate_at:
            taken = values.itemsize * len(values)
            require_memory(taken * size // file.buffer.tell() - taken, where=f"the rest of {where}")
            estimate_at *= 8
    labels, index = (
        [] if place is None else texts[place] for place in (columns.label, columns.index)
    )
    return Text(
        x=np.frombuffer(values).reshape(len(lines), width - len(texts)),
        columns=columns,
        labels=[numbers.with_point(label) for label in labels],
        index=index,
        lines=lines,
        notes=[],
    )


def _check(text: Text, *, where: str) -> None:
    """Raise if there are no samples, or one has a number or a label that stands for nothing."""
    if not text.lines:
        raise DataError(f"{where} has names of columns, and no samples below them")
    finite = np.isfinite(text.x)
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        raise DataError(
            f"{where} holds nan or inf, first in line {text.lines[row]}, "
            f"{text.columns.feature(column)}: remove or impute them"
        )
    for line, label in zip(text.lines, text.labels, strict=False):
        if label.strip().lower() in ("", "nan"):
            raise DataError(f"{where} has no label in line {line}; give it one, or remove the line")
    if len(set(text.index)) < len(text.index):
        raise DataError(
            f"{where} has no name for its first column, and repeats values there, so that they "
            "are no names of rows; name it"
        )


def _ragged(line: int, cells: list[str], columns: Columns, *, where: str) -> str:
    """Say that a line is longer or shorter than the first, and what it may be."""
    advice = "look at its separators and quotes"
    if cells[0].strip().startswith("#"):
        advice = "# starts no comment: remove the line"
    elif len(columns.names) == 1 or len(cells) == 2 * len(columns.names):
        advice = f"{_SEPARATED}, decimals have a point where commas do, and # starts no comment"
    return (
        f"{where} cannot be read: it has {plural(len(cells), 'cell', 'cells')} in line {line}, and "
        f"{len(columns.names)} in the first; {advice}"
    )


def _no_number(
    line: int, cells: list[str], columns: Columns, numbers: Numbers, *, where: str
) -> str:
    """Say which cell holds no number, and what it may be."""
    place, cell = next((i, cell) for i, cell in enumerate(cells) if not numbers.reads(cell))
    here = f"in line {line}, {columns.feature(place)}"
    if not cell.strip():
        return f"{where} is empty {here}; fill it in, or remove the line"
    advice = f"a column of labels has to be named ({OPTION})"
    if is_number(cell):
        advice = "decimals have a point where commas separate cells"
    elif len(columns.names) == 1:
        advice = _SEPARATED
    elif line == 1:
        advice += ", and a line of names has no numbers"
    return f"{where} holds '{shown(cell)}' {here}, where a number belongs; {advice}"
