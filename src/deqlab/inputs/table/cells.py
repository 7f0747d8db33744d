"""What the cells of a table say: numbers, dates as numbers of days, or texts.

A text says a number as programs write it, or with commas for thousands (1,234.5), and a date with
its year first (2026-11-30, with a time of day or without). What can be read in two ways
(30.11.2026, 1.234,5) is not guessed: `foreign` names it, so that its owner writes it anew.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.tables.classes import shown

if TYPE_CHECKING:
    import pandas as pd

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", re.ASCII)
_DATE = re.compile(
    r"\d{4}([-/])\d\d\1\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)

_FOREIGN = {
    "2026-11-30": re.compile(r"\d{1,2}([./-])\d{1,2}\1(\d\d|\d{4})([T ,].*)?", re.ASCII),
    "1234.5": re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+", re.ASCII),
}
"""Ways to write dates and numbers that are not read, by how they would be."""

_EPOCH, _DAY = datetime(1970, 1, 1, tzinfo=UTC), timedelta(days=1)


def as_numbers(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the columns as float64, nan where there is no finite number."""
    import pandas as pd

    def one(column: "pd.Series") -> "pd.Series":
        if pd.api.types.is_datetime64_any_dtype(column):  # see `as_days`
            return pd.Series(np.nan, index=column.index)
        cells = column.astype(object)
        found = pd.to_numeric(cells, errors="coerce").astype("float64")
        found = found.where(found.notna(), cells.map(_with_commas).astype("float64"))
        return found.where(np.isfinite(found), np.nan)

    return frame.apply(one)


def with_commas(frame: "pd.DataFrame") -> list[str]:
    """Return the columns in which a text says a number with commas for thousands."""
    texts = as_texts(frame)
    return [name for name in frame if texts[name].dropna().map(_THOUSANDS.fullmatch).any()]


def as_days(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the columns as days since 1970, float64, nan where there is no date."""
    import pandas as pd

    def one(column: "pd.Series") -> "pd.Series":
        if pd.api.types.is_datetime64_any_dtype(column):
            return (pd.to_datetime(column, utc=True) - _EPOCH) / _DAY
        return as_texts(column.to_frame())[column.name].map(_day).astype("float64")

    return frame.apply(one)


def as_texts(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the columns as texts, nan where there is none; blanks are no text."""
    texts = frame.astype(object)
    texts = texts.map(lambda value: str(value).strip(), na_action="ignore")
    return texts.where(texts.notna() & (texts != ""), np.nan).astype(object)


def foreign(texts: "pd.Series", share: float) -> str | None:
    """Say how a column of dates or numbers that are not read is to be written, if it is one.

    Args:
        texts: What its cells say.
        share: Of the texts that must be such.
    """
    given = texts.dropna()
    for form, pattern in _FOREIGN.items():
        if len(given) and given.map(pattern.fullmatch).notna().mean() >= share:
            return f"{shown(given.iloc[0], 20)} can be read in two ways, write it as {form}"
    return None


def refuse_lists(frame: "pd.DataFrame", where: str) -> None:
    """Raise if a cell holds several values, as those of Parquet may.

    Raises:
        DataError: A column has lists, arrays or mappings.
    """
    import pandas as pd

    for name in frame:
        if frame[name].dtype == object and frame[name].map(pd.api.types.is_list_like).any():
            raise DataError(
                f"column '{shown(name)}' of {where} holds lists, and a feature is one value a row: "
                f"give their entries columns of their own, or --drop '{shown(name)}'"
            )


def _with_commas(cell: object) -> float:
    if not isinstance(cell, str) or "," not in cell or not _THOUSANDS.fullmatch(cell.strip()):
        return np.nan
    return float(cell.replace(",", ""))


def _day(text: object) -> float:
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        return np.nan
    try:
        moment = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:  # the 30th of February
        return np.nan
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) / _DAY
