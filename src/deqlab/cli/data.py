"""`deqlab data`: which data sets are here and sound, and how they are fetched."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from deqlab.cli.overrides import one_of
from deqlab.tasks.files.registry import NAMES, SOURCES
from deqlab.tasks.files.status import FileState, fetch, inspect


def look_after(names: list[str] | None, *, fetch_missing: bool, data_dir: Path | None) -> bool:
    """Print the state of the files of data sets; return whether all that are here are sound.

    Args:
        names: The data sets; None or none at all is every one.
        fetch_missing: Whether what is missing is downloaded first.
        data_dir: Where they are; None is where `tasks.files.store` looks.

    Raises:
        UsageError: There is no such data set.
        DataError: It cannot be downloaded.
    """
    chosen = [one_of(name, NAMES, what="data set") for name in names or NAMES]
    if fetch_missing:
        for name in chosen:
            if name in SOURCES:
                fetch(name, data_dir=data_dir)
    found = [status for status in inspect(data_dir) if status.data_set in chosen]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("data set", "file", "state", "where, or what to do"):
        table.add_column(heading, overflow="fold")
    for status in found:
        table.add_row(status.data_set, status.file, status.state.value, status.sentence)
    Console().print(table, markup=False)
    return all(status.state != FileState.DAMAGED for status in found)
