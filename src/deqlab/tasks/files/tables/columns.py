"""The columns of a table in a text, and their roles: an index, labels, features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.tables.cells import is_number
from deqlab.tasks.files.tables.classes import find_label, listed, shown

_INDEX = ("", "Unnamed: 0")
"""What pandas and R call the first column if it holds the names of the rows: nothing; and what
pandas calls it once it has been read and written again."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table, from the left.

    Attributes:
        names: Their names; "1", "2", ... if the table has none.
        named: True if the first line of the table holds the names.
        label: The place of the column that holds the labels, None if none does.
        index: The place of the column that holds names of rows, None if none does.
    """

    names: tuple[str, ...]
    named: bool
    label: int | None
    index: int | None

    @property
    def left_out(self) -> list[int]:
        """The columns that are no features, from the right."""
        places = (self.label, self.index)
        return sorted((place for place in places if place is not None), reverse=True)

    @property
    def features(self) -> list[str]:
        """The names of the others."""
        return [name for i, name in enumerate(self.names) if i not in (self.label, self.index)]

    def feature(self, place: int) -> str:
        """Say which column a feature is, in a sentence."""
        name = self.features[place]
        return f"column '{shown(name)}'" if self.named else f"column {name}"

    def notes(self, line: int) -> list[str]:
        """Say what was taken for what, where that is not plain; `line` is the first."""
        notes = []
        if not self.named:
            notes.append(f"no line of names, so columns are called 1 to {len(self.names)}")
        elif any(map(is_number, self.names)):
            notes.append(f"line {line} taken for names ({listed(self.features)})")
        if self.index is not None:
            notes.append("its first column, without a name, taken for names of rows and left out")
        return notes


def columns_of(first: Sequence[str], label: str | None, *, where: str, line: int) -> Columns:
    """Understand the first line that is not blank.

    It holds names if no cell of it is a number, if its numbers are 0, 1, 2, ... (pandas counts
    columns that have no name), if `label` is a cell of it and no
    number, or if it begins with "#" (so does
    numpy.savetxt mark a line of names). Otherwise it is a sample, and the columns are called 1,
    2, 3, ... Where what follows leaves it open, `refuse_a_doubt` says so.

    Args:
        first: Its cells.
        label: The name that the user gives for the column of labels.
        where: The file, for error messages.
        line: The number of the line.

    Raises:
        DataError: A column has no name, or that of the labels is not there or not clear.
    """
    names = tuple(cell.strip() for cell in first)
    named = True
    if names[0].startswith("#") and names[0] != label:
        names = (names[0].lstrip("#").strip(), *names[1:])
    elif not _are_names(names, label):
        named, names = False, tuple(str(i + 1) for i in range(len(names)))
    place = find_label(names, label, where=where, what="column")
    index = 0 if named and names[0] in _INDEX and len(names) > 1 and place != 0 else None
    for i, name in enumerate(names):
        if not name and i != index:
            raise DataError(
                f"{where} has no name for column {i + 1} of {len(names)} in line {line}: name it, "
                "or remove it (a line that ends in a separator has an empty last column)"
            )
    if len(names) == len({place, index} - {None}):
        raise DataError(f"{where} has no features besides '{shown(names[-1])}'")
    return Columns(names=names, named=named, label=place, index=index)


def refuse_a_doubt(
    columns: Columns, x: Float64[np.ndarray, "n p"], labels: Sequence[str], *, where: str, line: int
) -> None:
    """Raise if a line that was taken for names may as well be a sample.

    That is so if it is 0, or 0 and 1, above whole numbers, or if it has numbers and what would be
    the name of the labels is a label further down.
    """
    names = columns.names
    if not columns.named or columns.index is not None or not any(map(is_number, names)):
        return
    if all(map(is_number, names)):
        doubtful = len(names) == 1 or (len(names) == 2 and bool((x == np.trunc(x)).all()))
    else:
        doubtful = columns.label is not None and names[columns.label] in set(labels)
    if doubtful:
        raise DataError(
            f"{where} begins with {listed(names)} in line {line}, which may be names or a sample; "
            "put names above it that are no numbers, or in its place"
        )


def _are_names(cells: Sequence[str], label: str | None) -> bool:
    numbers = [cell for cell in cells if is_number(cell)]
    return not numbers or _count(numbers) or (label in cells and label not in numbers)


def _count(cells: Sequence[str]) -> bool:
    return list(cells) == [str(i) for i in range(len(cells))]
