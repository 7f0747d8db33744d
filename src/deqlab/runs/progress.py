"""How far a job in a worker is: its newest row, in a file of its folder, for who waits for it.

Nothing depends on the file. It is not synced, may be lost, and goes with the folder.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deqlab.runs.reading import DamagedError, read_object
from deqlab.runs.records import Row
from deqlab.runs.writing import to_json

FILE = "progress.json"

SECONDS = 0.5
"""How often the file is written, at most."""


def teller(folder: Path | None) -> Callable[[Row], None]:
    """Return a function that tells of rows, of what is short in them, by the file in a folder.

    Args:
        folder: The folder of a job; None tells nobody.
    """
    told = 0.0

    def tell(row: Row) -> None:
        nonlocal told
        if folder is None or time.monotonic() - told < SECONDS:
            return
        told = time.monotonic()
        row = {name: value for name, value in row.items() if not isinstance(value, list | dict)}
        with suppress(OSError):  # a full disk ends the job where rows are written, in a sentence
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f"{FILE}.tmp"
            temporary.write_text(to_json(row), encoding="utf-8")
            temporary.replace(folder / FILE)

    return tell


@contextmanager
def listening(folders: Sequence[Path | None], tell: Callable[[int, Row], None]) -> Iterator[None]:
    """Tell of the rows that are told in folders meanwhile, by the numbers of the folders."""
    told = [_newest(folder) for folder in folders]  # in an earlier sitting
    ends = threading.Event()

    def listen() -> None:
        while not ends.wait(SECONDS):
            for number, folder in enumerate(folders):
                row = _newest(folder)
                if row is not None and row != told[number]:
                    told[number] = row
                    tell(number, row)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def _newest(folder: Path | None) -> Row | None:
    if folder is None:
        return None
    try:
        return read_object(folder / FILE)
    except DamagedError:  # it is not there, for instance
        return None
