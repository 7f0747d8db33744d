"""What stands in a directory before a run goes on in it: refused, repaired, or as it was.

A crash can cut the end of rows.jsonl, and leave a temporary file. That is repaired, and said. All
other damage was done by somebody, who should know of it before anything is changed.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from deqlab.runs.jobs import jobs_of
from deqlab.runs.reading import (
    DamagedError,
    count_rows,
    parse,
    read_object,
    read_rows,
    read_sessions,
)
from deqlab.runs.records import FORMAT, Row
from deqlab.runs.writing import TEMPORARY, to_json, write_whole

T = TypeVar("T")

RESTORE = "restore the file, or move the run away and start again"


class RunError(ValueError):
    """A run cannot begin or go on; the message says why and what to do."""


class OtherRunError(RunError):
    """A directory holds another run."""


def check(path: Path, description: dict[str, Any]) -> None:
    """Raise RunError if `path` cannot hold this run; write nothing."""
    try:
        _check_place(path)
        config, rows = path / "config.json", path / "rows.jsonl"
        if os.path.lexists(config):
            # Tuples become lists, as on disk.
            _check_same_run(config, parse(to_json(description).encode("utf-8")))
            sessions_of(path)
            _read(read_rows, rows)
            if rows.exists() and not os.access(rows, os.W_OK):
                raise RunError(f"{rows} cannot be written to; choose another --out")
        elif path.exists() and not all(_is_ours(file.name) for file in path.iterdir()):
            raise RunError(f"{path} is not empty and not a run directory; choose another --out")
    except OSError as error:
        raise unwritable(path, error) from error


def _check_place(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file; --out takes a directory")
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"{parent} cannot be written to; choose another --out")


def _is_ours(name: str) -> bool:
    """Whether a run that was killed before it wrote its config may have left this file."""
    return name == ".lock" or TEMPORARY.fullmatch(name) is not None


def _check_same_run(config: Path, description: Any) -> None:  # noqa: ANN401
    found = _read(read_object, config)
    experiment, fields = found.get("experiment"), found.get("config")
    if not isinstance(experiment, str) or not isinstance(fields, dict):
        raise RunError(f"{config} needs a text 'experiment' and a JSON object 'config'; {RESTORE}")
    if found.get("format") != FORMAT:
        raise RunError(
            f"{config} has format {found.get('format')!r}, and this deqlab writes format {FORMAT}; "
            "use the version of deqlab that wrote it, or choose another --out"
        )
    if experiment != description["experiment"]:
        raise OtherRunError(
            f"{config.parent} holds a run of {experiment}, not of {description['experiment']}; "
            "choose another --out"
        )
    if found.get("module") != description.get("module"):
        place, ours = (each.get("module") or "deqlab" for each in (found, description))
        raise RunError(
            f"{config.parent} holds a run of {experiment} of {place}, not of {ours}; choose "
            "another --out"
        )
    for name, wanted in description["config"].items():
        has: Any = fields.get(name)
        if has == wanted or (name == "seeds" and begins(wanted, has)):
            continue
        if name == "seeds" and begins(has, wanted):
            raise OtherRunError(
                f"{config.parent} holds a run of {len(has)} seeds, and this one has "
                f"{len(wanted)}: seeds are added to a run, never taken away; ask for {len(has)} or "
                "more, or choose another --out"
            )
        raise OtherRunError(
            f"{config.parent} holds a run with {name} = {has!r}, and this one "
            f"has {wanted!r}; choose another --out, or the same settings to go on"
        )


def begins(longer: Any, shorter: Any) -> bool:  # noqa: ANN401, whatever a config holds
    """Return whether a list begins with all of another, of which there is at least one."""
    both = isinstance(longer, list) and isinstance(shorter, list)
    return both and bool(shorter) and longer[: len(shorter)] == shorter


def repair(path: Path) -> tuple[list[Row], list[str]]:
    """Take out what a crash left of unfinished jobs.

    Returns:
        The rows of all finished jobs, and what was done, in sentences.

    Raises:
        RunError: A file is damaged, or cannot be written.
    """
    file = path / "rows.jsonl"
    lines = _read(read_rows, file)
    jobs = jobs_of(lines.rows)
    rows = [row for of in jobs.finished.values() for row in of]
    notes = []
    if lines.torn is not None:
        notes.append(f"{file}: the last line was half written and has been removed.")
    notes += [
        f"{file}: {count_rows(count)} of the unfinished job {arm}, seed {seed}, have been removed; "
        "it runs again."
        for (arm, seed), count in jobs.unfinished.items()
    ]
    notes += [
        f"{file}: {count_rows(count)} of {arm}, seed {seed}, have been removed; the same job has "
        "others further down."
        for (arm, seed), count in jobs.repeated.items()
    ]
    if rows != lines.rows or lines.torn is not None or not lines.ended:
        write(file, "".join(map(line_of, rows)))
    if notes:  # what was judged is no longer all there
        remove(path / "verdict.json")
    return rows, notes


def _read(read: Callable[[Path], T], file: Path, advice: str = RESTORE) -> T:
    try:
        return read(file)
    except DamagedError as error:
        raise RunError(f"{error}, and no interruption does that; {advice}") from error


def sessions_of(path: Path) -> list[dict[str, Any]]:
    """Read what environment.json tells of earlier sessions, or raise RunError."""
    advice = "restore the file, or delete it to go on without what it tells of earlier sessions"
    return _read(read_sessions, path / "environment.json", advice)


def unwritable(path: Path, error: OSError) -> RunError:
    """Return what to raise where a run cannot begin."""
    return RunError(f"{path} cannot be written to ({error.strerror}); choose another --out")


def unwritten(file: Path, error: OSError) -> RunError:
    """Return what to raise where a file could not be written."""
    return RunError(
        f"{file} could not be written ({error.strerror}); the jobs before are saved, and the same "
        "command goes on from there"
    )


def line_of(row: Row) -> str:
    """Return a row as a line of rows.jsonl."""
    return to_json(row) + "\n"


def write(file: Path, text: str) -> None:
    """Write a file whole, or raise RunError and leave the old one."""
    try:
        write_whole(file, text)
    except OSError as error:
        raise unwritten(file, error) from error


def remove(file: Path) -> None:
    """Remove a file, if it is there, or raise RunError."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise unwritten(file, error) from error
