"""A run on disk: config.json, environment.json, rows.jsonl, verdict.json, results/, unfinished/.

rows.jsonl is append-only and holds whole jobs: the rows of a job are written together when it is
done, and its summary row comes last. A line that a crash cut short, and the rows of a job that has
no summary, are therefore no loss: the job runs again and leaves the same rows. What is no row at
all is not repaired but reported, since it cannot be a crash's. When all jobs are done, the file is
replaced by one in the order of the plan, so that it does not tell which worker was faster.

In unfinished/ each job has a folder of its own while it runs, for what it needs to go on. A job
that is done has none: rows first, so that a crash between the two leaves a folder too many. Files
that it leaves for good (weights) then go to results/, in a folder of the same name.

A run may be opened with more seeds than it has. Then its rows stay, but for those of jobs that were
made for what all seeds measured: they stand aside in unfinished/ until it is known whether the same
jobs are planned again (see `aside`).
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock, Timeout

from deqlab.runs.aside import FILE as ASIDE
from deqlab.runs.aside import put_aside, rows_aside
from deqlab.runs.jobs import Key, jobs_of, key_of
from deqlab.runs.opening import (
    RunError,
    check,
    line_of,
    remove,
    repair,
    sessions_of,
    unwritable,
    unwritten,
    write,
)
from deqlab.runs.reading import parse_row, read_object, read_rows
from deqlab.runs.records import RESULTS, Job, Row, Verdict
from deqlab.runs.writing import to_json


@dataclass
class RunDirectory:
    """An open run, locked against a second writer.

    Attributes:
        path: The directory.
        rows: The rows of all finished jobs.
        notes: What was repaired when it was opened, in sentences.
        description: What config.json shall hold.
        seeds: Those of config.json, of which the description may have more.
    """

    path: Path
    rows: list[Row]
    notes: list[str]
    description: dict[str, Any]
    seeds: tuple[int, ...]
    _lock: FileLock

    @classmethod
    def open(cls, path: Path, description: dict[str, Any]) -> "RunDirectory":
        """Open the run at `path`, or begin it.

        Args:
            path: The directory.
            description: What config.json shall hold.

        Raises:
            RunError: The directory cannot be written, belongs to another experiment or config,
                holds something else, is in use, or one of its files is damaged. A config that
                differs by more seeds at the end is none other; see `take_seeds`.
        """
        check(path, description)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{path} is in use by another deqlab run; wait for it to end") from None
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            # Again, now that nobody else writes.
            check(path, description)
            if not (path / "config.json").exists():
                write(path / "config.json", to_json(description, indent=2) + "\n")
            rows, notes = repair(path)
            seeds = read_object(path / "config.json")["config"].get("seeds", ())
        except BaseException:
            lock.release()
            raise
        run = cls(path, rows, notes, description, tuple(seeds), lock)
        for arm, seed in run.done:
            run.clear(Job(arm=arm, seed=seed))
        return run

    @property
    def done(self) -> set[tuple[str, int]]:
        """The (arm, seed) of every finished job."""
        return {key_of(row) for row in self.rows if row["kind"] == "summary"}

    def folder(self, job: Job) -> Path:
        """Return where a job may keep what it needs to go on; see `Job`."""
        arm = quote(job.arm, safe=" ", errors="surrogatepass")
        return self.path / "unfinished" / f"{arm}-{job.seed}"

    def clear(self, job: Job) -> None:
        """Keep what a job that is done leaves for good, and remove its folder."""
        folder = self.folder(job)
        left = folder / RESULTS
        if left.is_dir():
            kept = self.path / RESULTS / folder.name
            shutil.rmtree(kept, ignore_errors=True)  # of a run of this job before
            kept.parent.mkdir(exist_ok=True)
            left.replace(kept)
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # others are in it, or it is not there
            folder.parent.rmdir()

    def take_seeds(self, settings: Mapping[Key, Mapping[str, Any]]) -> None:
        """Let config.json have the seeds of the description.

        The rows go first: whatever an interruption leaves of this, nothing counts that should not.

        Args:
            settings: Of each finished job whose rows stand aside until it is planned again.

        Raises:
            RunError: The disk is full, or fails.
        """
        aside: dict[Key, list[Row]] = {key: [] for key in settings}
        for row in self.rows:
            if key_of(row) in aside:
                aside[key_of(row)].append(row)
        remove(self.path / "verdict.json")
        for (arm, seed), rows in aside.items():
            folder = self.folder(Job(arm=arm, seed=seed))
            try:
                put_aside(folder, settings[arm, seed], rows)
            except OSError as error:
                raise unwritten(folder, error) from error
        if aside:
            self.rows = [row for row in self.rows if key_of(row) not in aside]
            write(self.path / "rows.jsonl", "".join(map(line_of, self.rows)))
        write(self.path / "config.json", to_json(self.description, indent=2) + "\n")
        self.seeds = tuple(self.description["config"]["seeds"])

    def aside(self, job: Job) -> list[Row] | None:
        """Return the rows of a job that stand aside; None unless it is the same job again.

        What another one of its name left in its folder is removed.
        """
        folder = self.folder(job)
        rows = rows_aside(folder, job.settings)
        if rows is None and (folder / ASIDE).exists():
            shutil.rmtree(folder, ignore_errors=True)
        return rows

    def look_again(self) -> None:
        """Take the rows from the disk: an interruption may fall just after they were written."""
        jobs = jobs_of(read_rows(self.path / "rows.jsonl").rows)
        self.rows = [row for rows in jobs.finished.values() for row in rows]

    def begin_session(self, environment: dict[str, Any]) -> None:
        """Record where and how this part of the run is made.

        Raises:
            RunError: The file of earlier sessions is damaged, or the disk is full, or fails.
        """
        file = self.path / "environment.json"
        sessions = {"sessions": [*sessions_of(self.path), environment]}
        write(file, to_json(sessions, indent=2) + "\n")

    def append(self, job: Job, rows: Sequence[Row]) -> None:
        """Write the rows of a finished job, through to the disk.

        Raises:
            RunError: They are not the rows of a finished job, or could not be read again; or the
                disk is full, or fails.
        """
        file = self.path / "rows.jsonl"
        try:
            lines = [line_of({"arm": job.arm, "seed": job.seed, **row}) for row in rows]
            # As on disk: a run that is read again must be judged as this one is.
            read = [parse_row(line.encode("utf-8")) for line in lines]
            jobs = jobs_of(read)
            if list(jobs.finished) != [(job.arm, job.seed)] or jobs.unfinished or jobs.repeated:
                raise ValueError("the last row of a job, and no other, is of kind 'summary'")
        except (TypeError, ValueError) as error:
            name = f"{job.arm!r}, seed {job.seed!r}"
            raise RunError(f"rows of {name}, cannot be written to {file}: {error}") from error
        try:
            with file.open("a", encoding="utf-8") as handle:
                handle.writelines(lines)
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise unwritten(file, error) from error
        self.rows += read

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
        rows = sorted(self.rows, key=lambda row: place[key_of(row)])
        if rows != self.rows:
            write(self.path / "rows.jsonl", "".join(map(line_of, rows)))
            self.rows = rows

    def finish(self, verdict: Verdict) -> None:
        """Write the verdict of a complete run.

        Raises:
            RunError: The disk is full, or fails.
        """
        for file in self.path.glob(f"unfinished/*/{ASIDE}"):  # of jobs that are not planned again
            shutil.rmtree(self.path / RESULTS / file.parent.name, ignore_errors=True)
            shutil.rmtree(file.parent, ignore_errors=True)
        write(self.path / "verdict.json", to_json(asdict(verdict), indent=2) + "\n")

    def close(self) -> None:
        """Let others write."""
        self._lock.release()
