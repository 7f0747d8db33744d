"""A table whose target is known: what is predicted, from what, and in one line what was understood.

Whole numbers of few values, texts and truth values are classes; other numbers are a regression.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from deqlab.inputs.table.cells import as_days, as_numbers, as_texts, refuse_lists
from deqlab.inputs.table.columns import Columns, columns_of
from deqlab.inputs.table.extremes import refuse_extremes
from deqlab.inputs.table.frames import read_frame
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.tables.classes import listed, plural, shown

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 30
"""Rows below which no comparison over folds says anything."""

SMALLEST = 10
"""Rows of a class, so that it is in the training, held-out and test rows of each fold."""

MOST_ROWS = 10_000
"""Rows that are compared on; of more this many are drawn."""

CLASSES = 20
"""Different whole numbers that still are classes; texts may be more in a long table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """What is predicted from what.

    Attributes:
        name: What sentences call the table.
        x: The features, as they were read.
        y: The target: labels of classes as texts, or float64.
        target: Its name.
        columns: What the features are.
        description: One line on what was understood.
    """

    name: str
    x: "pd.DataFrame"
    y: np.ndarray
    target: str
    columns: Columns
    description: str

    @property
    def is_regression(self) -> bool:
        """Whether the target is a number."""
        return self.y.dtype == np.float64


def read_table(data: str, target: str | None, *, drop: Sequence[str] = (), seed: int = 0) -> Table:
    """Read a table, and understand it.

    Args:
        data: See `read_frame`.
        target: The name of the column that is predicted; None where the data say it themselves.
        drop: Columns that are left out.
        seed: Draws the rows of a table that has more than MOST_ROWS.

    Raises:
        DataError: As `read_frame`; there is no such column, its values are all the same, or there
            are too few rows; or no column is a feature.
    """
    found = read_frame(data)
    frame, name = found.frame, found.name
    frame.columns = [str(column) for column in frame.columns]
    target = known_column(target or found.target, frame, name)
    dropped = [known_column(column, frame, name) for column in drop]
    if target in dropped:
        raise DataError(f"--drop {shown(target)}: that is the target")
    frame = frame.drop(columns=dropped)
    refuse_lists(frame, name)
    refuse_extremes(frame)
    notes: list[str] = []
    frame = _rows(frame, target, name, seed, notes)
    y, kept, told = _target(frame[target], f"{shown(target)} of {name}", notes)
    x = frame.drop(columns=target)[kept].reset_index(drop=True)
    columns = columns_of(x)
    if not columns.features:
        raise DataError(
            f"{name} has no column to predict {shown(target)} from: "
            f"{reasons_of(columns.left_out) or 'there is no other'}"
        )
    notes += [f"left out {reasons_of(columns.left_out)}"] if columns.left_out else []
    size = plural(len(x), "row", "rows")
    return Table(
        name=name,
        x=x[list(columns.features)],
        y=y,
        target=target,
        columns=columns,
        description="; ".join([f"{name}: {size}, {columns}, {told}", *notes]),
    )


def _rows(
    frame: "pd.DataFrame", target: str, name: str, seed: int, notes: list[str]
) -> "pd.DataFrame":
    """Return the rows that have a target, or as many of them as are compared on."""
    given = as_texts(frame[[target]])[target].notna()
    if not given.all():
        lost = plural(int((~given).sum()), "row", "rows")
        notes.append(f"{lost} without a target left out")
    frame = frame[given].reset_index(drop=True)
    if len(frame) < FEWEST:
        raise DataError(
            f"{name} has {plural(len(frame), 'row', 'rows')} with a value of {shown(target)}, and "
            f"a comparison needs {FEWEST} at least"
        )
    if len(frame) > MOST_ROWS:
        notes.append(f"{MOST_ROWS:,} of {len(frame):,} rows drawn")
        frame = frame.sample(MOST_ROWS, random_state=seed).sort_index().reset_index(drop=True)
    return frame


def known_column(column: str | None, frame: "pd.DataFrame", name: str) -> str:
    """Return a column that there is, or raise with the nearest names."""
    known = list(frame.columns)
    if column is None:
        raise DataError(f"--target COLUMN: say what is predicted; {name} has {listed(known)}")
    if column in known:
        return column
    lower = {each.lower(): each for each in known}
    near = get_close_matches(column.lower(), list(lower), n=3)
    quoted = ", ".join(f"'{shown(lower[each])}'" for each in near)
    verb = "is" if len(near) == 1 else "are"
    hint = f"nearest {verb} {quoted}" if near else f"it has {listed(known)}"
    raise DataError(f"{name} has no column '{shown(column)}'; {hint}")


def _target(
    column: "pd.Series", where: str, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the target, which rows it keeps, and what is said of it; notes are added to."""
    numbers, unit = as_numbers(column.to_frame())[column.name], ""
    if numbers.isna().all():
        numbers, unit = as_days(column.to_frame())[column.name], ", days since 1970"
    texts = as_texts(column.to_frame())[column.name]
    if texts.nunique() < 2:
        only = shown(str(texts.iloc[0]))
        raise DataError(f"{where} is always {only}: nothing is to be predicted")
    numeric = numbers.notna().all() and set(texts) != {"True", "False"}
    if numeric and not _are_classes(numbers):
        y = numbers.to_numpy(np.float64)
        told = f"a regression of {shown(str(column.name))} ({y.min():g} to {y.max():g}{unit})"
        return y, np.ones(len(y), bool), told
    # Whole numbers, so that 1 and 1.0 are one class; days stay dates.
    labels = numbers.map("{:.0f}".format) if numeric and not unit else texts
    sizes = labels.value_counts()
    if len(sizes) > max(CLASSES, len(labels) // SMALLEST):
        raise DataError(
            f"{where} has {len(sizes)} different texts in {len(labels)} rows: these are names, and "
            "no classes that could be predicted"
        )
    rare, sizes = sizes[sizes < SMALLEST], sizes[sizes >= SMALLEST]
    if len(rare):
        notes.append(f"{listed(list(rare.index))} left out, of fewer than {SMALLEST} rows each")
    if len(sizes) < 2:
        raise DataError(f"{where} has no two classes of {SMALLEST} rows or more")
    kept = ~labels.isin(rare.index).to_numpy()
    y = labels[kept].to_numpy(dtype=object).astype(str)
    return y, kept, _classes_told(sizes, str(column.name))


def _classes_told(sizes: "pd.Series", name: str) -> str:
    shares = [f"{shown(str(each))} {100 * n / sizes.sum():.0f} %" for each, n in sizes.items()]
    first = ", ".join(shares[:4]) + (", ..." if len(shares) > 4 else "")
    return f"{len(sizes)} classes of {shown(name)} ({first})"


def _are_classes(numbers: Any) -> bool:  # noqa: ANN401, a column of pandas
    whole = bool((numbers == numbers.round()).all())
    return whole and numbers.nunique() <= CLASSES


def reasons_of(left_out: dict[str, str]) -> str:
    """Say why columns are no features."""
    told = [f"{shown(name)} ({why})" for name, why in list(left_out.items())[:4]]
    more = f" and {len(left_out) - 4} more" if len(left_out) > 4 else ""
    return ", ".join(told) + more
