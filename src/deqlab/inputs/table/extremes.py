"""Numbers too large for a table to be compared on, which are refused before anything is trained.

One cell of 1e300 makes a variance infinite, and one of 1e39 alone decides what R^2 is: the answer
would be about that cell.
"""

from typing import TYPE_CHECKING

import numpy as np

from deqlab.inputs.table.cells import as_numbers
from deqlab.inputs.table.columns import NUMBERS
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.tables.classes import shown

if TYPE_CHECKING:
    import pandas as pd

LARGEST = float(np.sqrt(np.finfo(np.float32).max))
"""The largest number whose square is finite in float32, 1.8e19: above every whole number of 64 bits
and every time in nanoseconds."""

FARTHEST = 1e6
"""How many times the span of the middle 90 % of a column a number may be away from its median;
heavy tails of 10,000 rows (Pareto, exponent 1/2) stay within."""


def refuse_extremes(frame: "pd.DataFrame") -> None:
    """Raise if a column of numbers has one that no model of a table can bear.

    Args:
        frame: The rows as they were read, so that sentences count them as the file does, from 1
            without the line of names.

    Raises:
        DataError: A number is above LARGEST, or farther out than FARTHEST.
    """
    for name in frame.columns:
        given = int(frame[name].notna().sum())
        numbers = as_numbers(frame[[name]])[name].to_numpy(np.float64)
        known = numbers[~np.isnan(numbers)]
        if not len(known) or len(known) < NUMBERS * given:
            continue
        row = int(np.nanargmax(np.abs(numbers)))
        if abs(numbers[row]) > LARGEST:
            raise DataError(
                f"column '{shown(name)}', row {row + 1}: {numbers[row]:g} is too large for float32 "
                f"(its square must be finite, so {LARGEST:.1e} is the most): drop or clip it"
            )
        low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
        away = np.abs(numbers - middle)
        row = int(np.nanargmax(away))
        if high > low and away[row] > FARTHEST * (high - low):
            raise DataError(
                f"column '{shown(name)}', row {row + 1}: {numbers[row]:g} is more than a million "
                f"times farther from the median than the middle 90 % of the column span "
                f"({low:g} to {high:g}), and would alone decide every score: drop or clip it"
            )
