"""A run on disk: config.json, environment.json, rows.jsonl, verdict.json.

rows.jsonl is append-only and holds whole jobs: the rows of a job are written together when it is
done, and its summary row comes last. A line that a crash cut short, and the rows of a job before
it, are therefore no loss: the job runs again and leaves the same rows. Damage anywhere else is
not repaired but reported, since it cannot be a crash's. When all jobs are done, the file is
replaced by one in the order of the plan, so that it does not tell which worker was faster.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from deqlab.experiments.base import Job, Row, Verdict


class RunError(ValueError):
    """A run directory cannot be used; the message says why and what to do."""


@dataclass
class RunDirectory:
    """An open run, locked against a second writer.

    Attributes:
        path: The directory.
        rows: The rows of all finished jobs.
        notes: What was repaired when it was opened, in sentences.
    """

    path: Path
    rows: list[Row]
    notes: list[str]
    _lock: FileLock

    @classmethod
    def open(cls, path: Path, description: dict[str, Any]) -> "RunDirectory":
        """Open the run at `path`, or begin it.

        Args:
            path: The directory.
            description: What config.json shall hold.

        Raises:
            RunError: The directory cannot be written, belongs to another experiment or config,
                holds something else, is in use, or its rows are damaged in the middle.
        """
        description = json.loads(_dumps(description))  # tuples become lists, as on disk
        check(path, description)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{path} is in use by another deqlab run; wait for it to end") from None
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            if not (path / "config.json").exists():
                _write_atomically(path / "config.json", description)
            rows, notes = _repair(path / "rows.jsonl")
            if notes:  # what was judged is no longer all there
                (path / "verdict.json").unlink(missing_ok=True)
        except BaseException:
            lock.release()
            raise
        return cls(path, rows, notes, lock)

    @property
    def done(self) -> set[tuple[str, int]]:
        """The (arm, seed) of every finished job."""
        return {(row["arm"], row["seed"]) for row in self.rows if row["kind"] == "summary"}

    def look_again(self) -> None:
        """Take the rows from the disk: an interruption may fall just after they were written."""
        self.rows = [row for row, _ in _parse_rows(self.path / "rows.jsonl")[0]]

    def begin_session(self, environment: dict[str, Any]) -> None:
        """Record where and how this part of the run is made."""
        file = self.path / "environment.json"
        sessions = json.loads(file.read_text())["sessions"] if file.exists() else []
        _write_atomically(file, {"sessions": [*sessions, environment]})

    def append(self, job: Job, rows: Sequence[Row]) -> None:
        """Write the rows of a finished job, through to the disk.

        Raises:
            RunError: The disk is full, or fails.
        """
        tagged = [{"arm": job.arm, "seed": job.seed, **_finite(row)} for row in rows]
        try:
            with (self.path / "rows.jsonl").open("a", encoding="utf-8") as file:
                file.write(_lines(tagged))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritten(self.path / "rows.jsonl", error) from error
        self.rows += tagged

    def arrange(self, plan: Sequence[Job]) -> None:
        """Put the rows in the order of the planned jobs, which workers finish in any.

        Args:
            plan: With every job that has rows.

        Raises:
            RunError: A job is not planned, or the disk is full, or fails; the rows are as they
                were.
        """
        place = {(job.arm, job.seed): number for number, job in enumerate(plan)}
        for arm, seed in self.done - place.keys():
            raise RunError(
                f"{self.path / 'rows.jsonl'} has rows of {arm}, seed {seed}, which is not planned; "
                "another version of deqlab made them: choose another --out"
            )
        rows = sorted(self.rows, key=lambda row: place[row["arm"], row["seed"]])
        if rows != self.rows:
            _replace(self.path / "rows.jsonl", _lines(rows))
            self.rows = rows

    def finish(self, verdict: Verdict) -> None:
        """Write the verdict of a complete run.

        Raises:
            RunError: The disk is full, or fails.
        """
        _write_atomically(self.path / "verdict.json", asdict(verdict))

    def close(self) -> None:
        """Let others write."""
        self._lock.release()


def check(path: Path, description: dict[str, Any]) -> None:
    """Raise RunError if `path` cannot hold this run; write nothing."""
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file; --out takes a directory")
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"{parent} cannot be written to; choose another --out")
    config = path / "config.json"
    if config.exists():
        _check_same_run(config, json.loads(_dumps(description)))
        _parse_rows(path / "rows.jsonl")
    elif path.exists() and any(p.name != ".lock" for p in path.iterdir()):
        raise RunError(f"{path} is not empty and not a run directory; choose another --out")


def _check_same_run(config: Path, description: dict[str, Any]) -> None:
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
        experiment, fields = found["experiment"], found["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{config} is not readable ({error}); move the run away") from error
    if experiment != description["experiment"]:
        raise RunError(
            f"{config.parent} holds a run of {experiment}, not of {description['experiment']}; "
            "choose another --out"
        )
    for name, wanted in description["config"].items():
        if fields.get(name) != wanted:
            raise RunError(
                f"{config.parent} holds a run with {name} = {fields.get(name)!r}, and this one "
                f"has {wanted!r}; choose another --out, or the same settings to go on"
            )


def _repair(file: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of finished jobs, after cutting off what a crash left behind them."""
    rows, end, torn = _parse_rows(file)
    finished = max(
        (i + 1 for i, (row, _) in enumerate(rows) if row["kind"] == "summary"), default=0
    )
    notes = []
    if torn:
        notes.append(f"{file}: the last line was half written and has been removed.")
    if finished < len(rows):
        row = rows[-1][0]
        notes.append(
            f"{file}: {len(rows) - finished} rows of the unfinished job {row['arm']}, seed "
            f"{row['seed']} have been removed; it runs again."
        )
    if notes:
        end = rows[finished - 1][1] if finished else 0
        with file.open("r+b") as handle:
            handle.truncate(end)
    return [row for row, _ in rows[:finished]], notes


def _parse_rows(file: Path) -> tuple[list[tuple[Row, int]], int, bool]:
    """Return the rows with the offset where each ends, the last of these, and if a tail is torn.

    Raises:
        RunError: A line before the last is not a row.
    """
    data = file.read_bytes() if file.exists() else b""
    rows: list[tuple[Row, int]] = []
    end = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
            assert {"arm", "seed", "kind"} <= row.keys()
        except (ValueError, AssertionError, AttributeError):
            if number == len(lines) - 1 and lines[-1] == b"":
                return rows, end, True
            raise RunError(
                f"{file}, line {number} of {len(lines) - 1} is damaged, and not by an "
                "interruption, which can only cut the last line; restore the file, or move the "
                "run away and start again"
            ) from None
        end += len(line) + 1
        rows.append((row, end))
    return rows, end, lines[-1] != b""


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path} cannot be written to ({error.strerror}); choose another --out")


def _unwritten(file: Path, error: OSError) -> RunError:
    return RunError(
        f"{file} could not be written ({error.strerror}); the jobs before are saved, and the same "
        "command goes on from there"
    )


def _finite(value: Any) -> Any:  # noqa: ANN401
    """JSON has no inf and no nan: null stands for them."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _dumps(value: Any, indent: int | None = 2) -> str:  # noqa: ANN401
    return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)


def _lines(rows: Sequence[Row]) -> str:
    return "".join(_dumps(row, indent=None) + "\n" for row in rows)


def _write_atomically(file: Path, value: Any) -> None:  # noqa: ANN401
    _replace(file, _dumps(value) + "\n")


def _replace(file: Path, text: str) -> None:
    """Write a file so that a crash or a full disk leaves the old one or the new one, whole."""
    temporary = file.with_suffix(".tmp")
    try:
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unwritten(file, error) from error
