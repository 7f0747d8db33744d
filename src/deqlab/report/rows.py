"""Read a run directory: config.json, environment.json, rows.jsonl, verdict.json.

A job is one (arm, seed). Its last row is its summary; without it the job was interrupted
and none of its rows count.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deqlab.report.contest import read_contest
from deqlab.runs.jobs import Jobs, in_words, jobs_of
from deqlab.runs.reading import (
    DamagedError,
    Record,
    count_rows,
    read_object,
    read_rows,
    read_sessions,
)
from deqlab.runs.records import FORMAT, OUTCOMES, Verdict

T = TypeVar("T")

RUN_FILES = ("config.json", "rows.jsonl", "environment.json", "verdict.json")

NO_RUNS = ("results", "unfinished")
"""Folders of a run directory."""

DEEPEST = 4
"""How many folders deep runs are looked for: OUT/GROUP/SWEEP/VALUE, and one more."""


class ReportError(ValueError):
    """A run directory cannot be reported; the message says what, where and what to do."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The rows of one finished (arm, seed), in the order in which they were written."""

    arm: str
    seed: int
    rows: tuple[Record, ...]
    summary: Record


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run directory; `ignored` has a sentence for everything on disk that was skipped."""

    name: str
    config: Record
    sessions: tuple[Record, ...]
    jobs: tuple[Job, ...]
    verdict: Verdict | None
    ignored: tuple[str, ...]

    @property
    def charts(self) -> Sequence[Record]:
        """The chart declarations of config.json."""
        return _declarations(self.config, "charts", self.name)

    @property
    def settings(self) -> Record:
        """The fields of its config."""
        found = self.config.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def changed(self) -> Record:
        """The fields that its preset has other values of, with those of the preset."""
        found = self.config.get("changed") or {}
        if not isinstance(found, dict):
            raise ReportError(f"{self.name}/config.json: changed must be a JSON object; correct it")
        return found

    @property
    def tables(self) -> Sequence[Record]:
        """The table declarations of config.json."""
        return _declarations(self.config, "tables", self.name)


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """List the run directories among `paths` and in folders within them, each once.

    Those in one folder come in the order in which they were begun, a sweep before its runs.

    Raises:
        ReportError: `paths` is empty, or one of them holds no run directory.
    """
    if not paths:
        raise ReportError("no run directory given; name one that `deqlab run` wrote")
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ReportError(f"{path} is not a directory; name one that `deqlab run` wrote")
        inside = _runs_in(path, DEEPEST)
        if not inside:
            raise ReportError(
                f"no run directory in {path}: neither it nor a folder in it has a config.json; "
                "name one that `deqlab run` wrote"
            )
        for directory in inside:
            found.setdefault(directory.resolve(), directory)
    return list(found.values())


def _runs_in(path: Path, depth: int) -> list[Path]:
    """Return the path if it is a run directory, and those in its folders, as deep as that."""
    own = [path] if _is_run(path) else []
    if depth == 0:
        return own
    nested = [runs for folder in _folders(path) if (runs := _runs_in(folder, depth - 1))]
    return own + [run for runs in sorted(nested, key=lambda runs: _begun(runs[0])) for run in runs]


def _folders(path: Path) -> list[Path]:
    """Return the folders of a folder that may hold runs; none of one that cannot be read."""
    try:
        inside = list(path.iterdir())
    except PermissionError:
        return []
    looked = (each for each in inside if each.name not in NO_RUNS and each.name[0] != ".")
    return [each for each in looked if each.is_dir()]


def read_run(path: Path) -> Run:
    """Read one run directory.

    Raises:
        ReportError: A file is missing, damaged, or of an unknown format.
    """
    config = _read_config(path / "config.json")
    advice = "restore the file, or delete that line and run the command again"
    lines = _read(read_rows, path / "rows.jsonl", advice)
    jobs = jobs_of(lines.rows)
    return Run(
        name=path.resolve().name,
        config=config,
        sessions=_read_sessions(path / "environment.json"),
        jobs=tuple(
            Job(arm=arm, seed=seed, rows=tuple(rows), summary=rows[-1])
            for (arm, seed), rows in jobs.finished.items()
        ),
        verdict=_read_verdict(path / "verdict.json"),
        ignored=tuple(_ignored(lines.torn, jobs)),
    )


def _is_run(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in RUN_FILES)


def _begun(path: Path) -> tuple[str, tuple[str | float, ...]]:
    """Return when a run began, and its name with the numbers in it as numbers."""
    sessions = _read_sessions(path / "environment.json")
    parts = re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", path.name)  # text, number, text, ...
    name = tuple(float(part) if at % 2 else part for at, part in enumerate(parts))
    return str(sessions[0].get("started", "")) if sessions else "", name


def _read(read: Callable[[Path], T], path: Path, advice: str) -> T:
    try:
        return read(path)
    except DamagedError as error:
        raise ReportError(f"{error}; {advice}") from error


def _read_config(path: Path) -> Record:
    if not path.is_file():
        raise ReportError(
            f"{path} is missing, so {path.parent} cannot be reported; run its command again"
        )
    config = _read(read_object, path, "restore it or run the experiment into a new directory")
    if config.get("format") != FORMAT:
        raise ReportError(
            f"{path} has format {config.get('format')!r}, and this deqlab reads format {FORMAT}; "
            "use the version of deqlab that wrote it (see environment.json)"
        )
    for field in ("experiment", "title", "claim"):
        if not isinstance(config.get(field), str):
            raise ReportError(f"{path} needs a text {field!r}, got {config.get(field)!r}; add it")
    return config


def _declarations(config: Record, what: str, name: str) -> Sequence[Record]:
    report = config.get("report") or {}
    found = report.get(what) or [] if isinstance(report, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ReportError(
            f"{name}/config.json: report.{what} must be a list of JSON objects; correct it"
        )
    return found


def _ignored(torn: int | None, jobs: Jobs) -> Iterator[str]:
    """Yield a sentence for everything in rows.jsonl that does not count."""
    if torn is not None:
        yield (
            f"The last line of rows.jsonl (line {torn}) is half-written, as after a crash; "
            "it is ignored."
        )
    if jobs.unfinished:
        count = sum(jobs.unfinished.values())
        yield (
            f"{count_rows(count)} of interrupted jobs, which have no summary or do not stand "
            f"together, {'is' if count == 1 else 'are'} ignored ({in_words(jobs.unfinished)})."
        )
    if jobs.repeated:
        count = sum(jobs.repeated.values())
        yield (
            f"{count_rows(count)} of jobs that have others further down "
            f"{'is' if count == 1 else 'are'} ignored ({in_words(jobs.repeated)})."
        )


def _read_sessions(path: Path) -> tuple[Record, ...]:
    return tuple(_read(read_sessions, path, "delete it to report the run without it"))


def _read_verdict(path: Path) -> Verdict | None:
    if not path.is_file():
        return None
    advice = "delete it and run the same command again"
    verdict = _read(read_object, path, advice)
    outcome, sentence = verdict.get("outcome"), verdict.get("sentence")
    details = verdict.get("details") or []
    if outcome not in OUTCOMES:
        raise ReportError(
            f"{path} has outcome {outcome!r}, which is none of {', '.join(OUTCOMES)}; {advice}"
        )
    if not isinstance(sentence, str) or not isinstance(details, list):
        raise ReportError(f"{path} needs a text 'sentence' and a list 'details'; {advice}")
    contest = verdict.get("contest")
    try:
        read = None if contest is None else read_contest(contest)
    except (TypeError, KeyError, ValueError) as error:
        raise ReportError(f"{path} has a contest that is none ({error!r}); {advice}") from error
    return Verdict(
        outcome=outcome, sentence=sentence, details=tuple(map(str, details)), contest=read
    )


def rows_of(job: Job, kind: str) -> Iterator[Record]:
    """The rows of `job` of one kind."""
    return (row for row in job.rows if row["kind"] == kind)
