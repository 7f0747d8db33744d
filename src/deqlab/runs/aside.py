"""Rows of finished jobs that a run with more seeds may need no longer, or may need as they are.

An arm may be made for what others measured, such as the median cost of the DEQ over all seeds.
More seeds may move it. Until that is known the rows of such a job stand in its folder, with the
settings that it had: they count again if it is planned with the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deqlab.runs.reading import DamagedError, parse, read_object
from deqlab.runs.records import Row
from deqlab.runs.writing import to_json, write_whole

FILE = "rows.json"


def put_aside(folder: Path, settings: Mapping[str, Any], rows: list[Row]) -> None:
    """Write the rows of a job, and what it was made from, into its folder.

    Raises:
        OSError: The disk is full, or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / FILE, to_json({"settings": settings, "rows": rows}) + "\n")


def rows_aside(folder: Path, settings: Mapping[str, Any]) -> list[Row] | None:
    """Return the rows that stand aside in a folder; None unless they were made with these settings.

    Rows that cannot be read are none: the job runs again, and leaves them anew.
    """
    try:
        found = read_object(folder / FILE)
    except DamagedError:
        return None
    rows = found.get("rows")
    if found.get("settings") != parse(to_json(settings).encode()) or not isinstance(rows, list):
        return None
    return rows
