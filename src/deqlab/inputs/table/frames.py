"""Tables from where they are: files, folders of images, what scikit-learn brings, and OpenML.

pandas holds them, since it reads CSV and Parquet with missing values and types column by column,
and scikit-learn's ColumnTransformer takes its frames. Nothing that is read is ever executed: of
.npz files no objects are loaded, and pickles are not read at all.
"""

import re
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn import datasets

from deqlab.inputs.table.images import read_images
from deqlab.tasks.files.arrays import members, read_array
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.memory import require_memory
from deqlab.tasks.files.tables.classes import listed, shown
from deqlab.tasks.files.tables.records import opened, records, separator_of

if TYPE_CHECKING:
    import pandas as pd

BUNDLED: dict[str, Callable[..., object]] = {
    name: getattr(datasets, f"load_{name}")
    for name in ("breast_cancer", "diabetes", "digits", "iris", "wine")
}
"""Tables that scikit-learn brings, by name."""

OPENML = re.compile(r"openml:(\d+)")

GROWTH = 10
"""How much more memory than its file a table takes while it is read: measured with pandas 3.1 as
4.7 times on numbers of 4 characters, and 10 on texts of 1 to 3."""

MOST_COLUMNS = 25_000
"""Columns of a table, about the genes of a genome: every one of more would be looked at for so many
milliseconds that the answer took hours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A table as it was read.

    Attributes:
        name: What sentences call it.
        frame: Its columns, the target among them.
        target: The column that is the target if nobody says otherwise; None where nobody knows.
    """

    name: str
    frame: "pd.DataFrame"
    target: str | None = None


def read_frame(data: str) -> Frame:
    """Read a table.

    Args:
        data: The path of a .csv, .tsv, .parquet or .npz file, or of a folder that has a folder of
            images for each class; a name in BUNDLED; or "openml:" and an id.

    Raises:
        DataError: There is no such table, it cannot be read, does not fit into memory, or has two
            columns of one name or more than MOST_COLUMNS; or pandas is not installed.
    """
    _require_pandas()
    path, number = Path(data), OPENML.fullmatch(data)
    if number is not None:
        return _from_openml(int(number[1]))
    if data in BUNDLED and not path.exists():
        return _bundled(data)
    if path.is_dir():
        return Frame(name=shown(path.name, 80), frame=read_images(path), target="class")
    read = _READERS.get(path.suffix.lower())
    if read is None or not path.is_file():
        kinds = ", ".join(_READERS)
        reason = "is none of them" if path.exists() else "does not exist"
        raise DataError(
            f"{shown(data, 200)} {reason}: give a file ({kinds}), a folder with a folder of images "
            f"for each class, one of {', '.join(BUNDLED)}, or openml:ID"
        )
    try:
        found = read(path)
        _check_names(list(map(str, found.frame.columns)), path)
        return found
    except (DataError, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory; give some of its rows") from error
    except Exception as error:  # a damaged file raises a dozen kinds
        reason = shown(" ".join(str(error).split()), 200) or type(error).__name__
        raise DataError(
            f"{path} cannot be read: {_ADVICE[path.suffix.lower()]} ({reason})"
        ) from error


def _require_pandas() -> None:
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise DataError(
            "tables are read by pandas, which is not installed; pip install 'deqlab[tables]'"
        ) from error


def _csv(path: Path) -> Frame:
    import pandas as pd

    require_memory(GROWTH * path.stat().st_size, where=str(path))
    with opened(path) as file:
        separator, encoding = separator_of(file), file.encoding
        _, names = next(records(file, separator, where=str(path)), (0, []))
        if not names:
            raise DataError(f"{path} is empty; give a line of names and then a row a line")
        _check_names(names, path)  # of which pandas would rename twins
    frame = pd.read_csv(
        path,
        sep=separator,
        decimal="." if separator == "," else ",",  # a point stays one, in a text that says a number
        encoding=encoding,
        low_memory=False,  # one type a column, not one for each part of the file
        compression=None,
        on_bad_lines="error",
    )
    return Frame(name=shown(path.name, 80), frame=frame)


def _check_names(names: list[str], path: Path) -> None:
    if len(names) > MOST_COLUMNS:
        raise DataError(
            f"{path} has {len(names):,} columns, and a table may have {MOST_COLUMNS:,}; give those "
            "that matter"
        )
    for name, times in Counter(names).items():
        if name and times > 1:
            raise DataError(f"{path} has {times} columns '{shown(name)}'; rename all but one")


def _parquet(path: Path) -> Frame:
    import pandas as pd

    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(
            f"{path} is read by pyarrow, which is not installed; pip install 'deqlab[tables]'"
        ) from error
    with ParquetFile(path) as file:
        groups = range(file.metadata.num_row_groups)
        names = file.schema_arrow.names
        size = sum(file.metadata.row_group(group).total_byte_size for group in groups)
    _check_names(names, path)
    require_memory(GROWTH * size, where=str(path))
    return Frame(name=shown(path.name, 80), frame=pd.read_parquet(path, engine="pyarrow"))


def _npz(path: Path) -> Frame:
    """Read the arrays of an archive: one number a row is a column, a matrix is several."""
    import pandas as pd

    columns: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        found = members(archive)
        for name, info in found.items():
            where = f"array '{shown(name)}' of {path}"
            with archive.open(info) as member:
                array = read_array(member, info.file_size, where=where)
            if array.ndim == 0:
                raise DataError(f"{where} is a single item; give arrays with one line a sample")
            if array.ndim == 1:
                columns[name] = array
            else:
                flat = array.reshape(len(array), -1)
                columns |= {f"{name}[{i}]": flat[:, i] for i in range(flat.shape[1])}
    rows = {len(column) for column in columns.values()}
    if len(rows) != 1:
        raise DataError(
            f"{path} needs arrays of as many lines as there are samples; it has "
            f"{listed(list(found))} of {', '.join(map(str, sorted(rows))) or 'no'} lines"
        )
    return Frame(name=shown(path.name, 80), frame=pd.DataFrame(columns))


def _bundled(name: str) -> Frame:
    bunch = BUNDLED[name](as_frame=True)
    frame = bunch.frame  # type: ignore[attr-defined]
    if hasattr(bunch, "target_names"):  # labels that say what they are
        names = dict(enumerate(map(str, bunch.target_names)))
        frame = frame.assign(target=frame["target"].map(names))
    return Frame(name=name, frame=frame, target="target")


def _from_openml(number: int) -> Frame:
    try:
        bunch = datasets.fetch_openml(data_id=number, as_frame=True, parser="auto")
    except Exception as error:  # no net, no such id, no frame of it: a dozen kinds
        reason = shown(" ".join(str(error).split()), 200) or type(error).__name__
        raise DataError(
            f"openml:{number} cannot be fetched, for which the internet is needed: {reason}"
        ) from error
    names = bunch.target_names
    return Frame(name=f"openml:{number}", frame=bunch.frame, target=names[0] if names else None)


_TEXT = "look at its quotes, and that each line has as many cells as the first"

_ADVICE = {
    ".csv": _TEXT,
    ".tsv": _TEXT,
    ".parquet": "it is damaged or no Parquet file; write it again, or give a .csv file",
    ".npz": "it is damaged or no archive of numpy; write it again by numpy.savez",
}
"""What to do with a file that a reader gives up on."""

_READERS: dict[str, Callable[[Path], Frame]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".npz": _npz,
}
