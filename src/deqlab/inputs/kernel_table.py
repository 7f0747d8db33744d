"""A table of the user's as samples of a kernel: which column has the classes, what became numbers.

Tables with a line of names are read as `deqlab compare` reads them. Classes come from the column
that is asked for, or that is called so; where none is, and one could be, the user is asked, so that
no label becomes a feature in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deqlab.inputs.table.cells import as_texts, refuse_lists
from deqlab.inputs.table.columns import columns_of, preprocessing
from deqlab.inputs.table.extremes import refuse_extremes
from deqlab.inputs.table.frames import BUNDLED, OPENML, read_frame
from deqlab.inputs.table.table import (
    CLASSES,
    MOST_ROWS,
    SMALLEST,
    Table,
    known_column,
    read_table,
    reasons_of,
)
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.tables.cells import is_number
from deqlab.tasks.files.tables.classes import NAMES, plural, shown
from deqlab.tasks.files.tables.file import TableFile
from deqlab.tasks.files.tables.records import opened, records, separator_of
from deqlab.tasks.files.tables.samples import Samples

if TYPE_CHECKING:
    import pandas as pd

NO_LABEL = ""
"""The label of a table whose columns are all features."""

AS_IS = "as is"
"""The scaling that leaves numbers in their units."""


@dataclass(frozen=True, kw_only=True)
class KernelTable:
    """A table, and how it is read.

    Attributes:
        name: See `read_frame`.
        label: The column of the classes; NO_LABEL for none, None where the table says which.
        drop: Columns that are left out.
        scaling: AS_IS, or None: numbers get mean 0 and variance 1.
    """

    name: str
    label: str | None = None
    drop: tuple[str, ...] = ()
    scaling: str | None = None

    def load(self) -> Samples:
        """Return the samples; a file that has not changed is not read again.

        Raises:
            DataError: There is no such table or column, it cannot be understood, or it does not
                say which column holds the classes and one could.
        """
        path = Path(self.name)
        return _read(self, TableFile(name=self.name).checksum() if path.is_file() else "")


def is_table(name: str) -> bool:
    """Return whether this is a table by columns: of a text, that its first line has names.

    It has if none of its cells is a number, or if one stands above a number and is none.
    """
    path = Path(name)
    if name in BUNDLED or OPENML.fullmatch(name) or path.suffix.lower() == ".parquet":
        return True
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        return False
    with opened(path) as file:
        lines = islice(records(file, separator_of(file), where=str(path)), 2)
        first, second = (*(cells for _, cells in lines), [], [])[:2]
    if not first or first[0].startswith("#"):
        return False
    above = any(is_number(b) and not is_number(a) for a, b in zip(first, second, strict=False))
    return above or not any(map(is_number, first))


@lru_cache(maxsize=1)
def _read(table: KernelTable, checksum: str) -> Samples:
    found = read_frame(table.name)
    frame = found.frame.rename(columns=str)
    kept = frame.drop(columns=[known_column(each, frame, found.name) for each in table.drop])
    label, why = _label(kept, table.label, found.target, found.name)
    scaled = "as they are" if table.scaling == AS_IS else "standardised (--as-is leaves them)"
    if label is None:
        x, told = _unlabelled(kept, found.name, table)
        return Samples(
            x=x, labels=np.zeros(len(x), np.int64), description=f"{told}; numbers {scaled}"
        )
    read = read_table(table.name, label, drop=table.drop)
    if read.is_regression:
        raise DataError(
            f"{shown(label)} of {found.name} holds numbers, and a kernel compares classes: "
            f"--drop '{shown(label)}' leaves it out, --no-label makes it a feature"
        )
    return Samples(
        x=_numbers(read, table),
        labels=np.unique(read.y, return_inverse=True)[1].astype(np.int64),
        description=f"{read.description}{why}; numbers {scaled}",
    )


def _numbers(table: Table, asked: KernelTable) -> np.ndarray:
    how = preprocessing(table.columns, standardised=asked.scaling != AS_IS)
    return np.asarray(how.fit_transform(table.x), dtype=np.float64)


def _unlabelled(frame: "pd.DataFrame", name: str, asked: KernelTable) -> tuple[np.ndarray, str]:
    """Return the samples of a table without classes, and what was understood."""
    refuse_lists(frame, name)
    refuse_extremes(frame)
    drawn = ""
    if len(frame) > MOST_ROWS:
        drawn = f"; {MOST_ROWS:,} of {len(frame):,} rows drawn"
        frame = frame.sample(MOST_ROWS, random_state=0).reset_index(drop=True)
    columns = columns_of(frame)
    if not columns.features:
        raise DataError(f"{name} has no column that could be a feature")
    how = preprocessing(columns, standardised=asked.scaling != AS_IS)
    x = np.asarray(how.fit_transform(frame[list(columns.features)]), dtype=np.float64)
    told = f"{name}: {plural(len(x), 'row', 'rows')}, {columns}, no labels, so all are one class"
    if columns.left_out:
        told += f"; left out {reasons_of(columns.left_out)}"
    few = [column for column in _candidates(frame) if column in columns.features]
    if few:
        told += f"; features of few values among them: {_counted(frame, few)}"
    return x, f"{told}{drawn}"


def _label(
    frame: "pd.DataFrame", asked: str | None, known: str | None, name: str
) -> tuple[str | None, str]:
    """Return the column of the classes, if there is one, and why it was taken."""
    if asked is not None:
        return (None if asked == NO_LABEL else asked), ""
    if known in frame:
        return known, ""
    called = [column for column in frame if column.lower() in NAMES]
    if len(called) == 1:
        return called[0], ", taken for its name (--label takes another)"
    candidates = called or _candidates(frame)
    if candidates:
        raise DataError(
            f"{name} does not say which column holds the classes, and "
            f"{_counted(frame, candidates)} could: --label '{shown(candidates[0])}' takes that "
            "one, --no-label makes all of them features, and --drop leaves one out"
        )
    return None, ""


def _candidates(frame: "pd.DataFrame") -> list[str]:
    """Return the columns that may be classes: of few values; the last one first."""
    frame = frame.head(MOST_ROWS)
    counts = as_texts(frame).nunique()
    found = [
        column
        for column in frame
        if 2 <= counts[column] <= CLASSES and counts[column] * SMALLEST <= len(frame)
    ]
    return sorted(found, key=lambda column: (column != frame.columns[-1], counts[column]))


def _counted(frame: "pd.DataFrame", columns: Sequence[str]) -> str:
    counts = as_texts(frame[list(columns)]).nunique()
    told = [f"{shown(column)} ({counts[column]} values)" for column in columns[:4]]
    more = [f"{len(columns) - 4} more"] if len(columns) > 4 else []
    return ", ".join([*told, *more])
