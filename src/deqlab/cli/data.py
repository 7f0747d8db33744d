"""`deqlab data`: which data sets are here and sound, and how they are fetched."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from deqlab.cli.chosen import every
from deqlab.tasks.files.registry import REGISTRY, find_dataset
from deqlab.tasks.files.status import FileState, fetch, inspect


def look_after(names: list[str] | None, *, fetch_missing: bool, data_dir: Path | None) -> bool:
    """Print the state of the files of data sets; return whether all that are here are sound.

    Args:
        names: The data sets; None or none at all is every one.
        fetch_missing: Whether what is missing is downloaded first.
        data_dir: Where they are; None is where `tasks.files.store` looks.

    Raises:
        DataError: There is no such data set, or it cannot be downloaded.
    """
    chosen = list(names or [dataset.name for dataset in every(REGISTRY)])
    for name in chosen:
        if find_dataset(name).mirrors and fetch_missing:
            fetch(name, data_dir=data_dir)
    found = inspect(data_dir, names=chosen)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("data set", "file", "state", "where, or what to do"):
        table.add_column(heading, overflow="fold")
    for status in found:
        table.add_row(status.data_set, status.file, status.state.value, status.sentence)
    Console().print(table, markup=False)
    return all(status.state != FileState.DAMAGED for status in found)
