"""Read a run directory: config.json, environment.json, rows.jsonl, verdict.json.

A job is one (arm, seed). Its last row is its summary; without it the job was interrupted
and none of its rows count.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
RUN_FILES = ("config.json", "rows.jsonl", "environment.json", "verdict.json")
OUTCOMES = ("holds", "holds partly", "does not hold here", "undecided")

Record = Mapping[str, Any]


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
class Verdict:
    """What the run says about its claim."""

    outcome: str
    sentence: str
    details: tuple[str, ...]


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
    def tables(self) -> Sequence[Record]:
        """The table declarations of config.json."""
        return _declarations(self.config, "tables", self.name)


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """List the run directories among `paths` and one level below them, each once.

    Those of one directory come in the order in which they were begun.

    Raises:
        ReportError: `paths` is empty, or one of them holds no run directory.
    """
    if not paths:
        raise ReportError("no run directory given; name one that `deqlab run` wrote")
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ReportError(f"{path} is not a directory; name one that `deqlab run` wrote")
        inside = [path] if _is_run(path) else sorted(filter(_is_run, path.iterdir()), key=_begun)
        if not inside:
            raise ReportError(
                f"no run directory in {path}: neither it nor a directory directly below it has "
                "a config.json; name one that `deqlab run` wrote"
            )
        for directory in inside:
            found.setdefault(directory.resolve(), directory)
    return list(found.values())


def read_run(path: Path) -> Run:
    """Read one run directory.

    Raises:
        ReportError: A file is missing, damaged, or of an unknown format.
    """
    config = _read_config(path / "config.json")
    rows, torn = _read_rows(path / "rows.jsonl")
    jobs, interrupted = _group(rows)
    ignored = []
    if torn is not None:
        ignored.append(
            f"The last line of rows.jsonl (line {torn}) is half-written, as after a crash; "
            "it is ignored."
        )
    if interrupted:
        count = sum(map(len, interrupted.values()))
        names = ", ".join(f"{arm} with seed {seed}" for arm, seed in interrupted)
        ignored.append(
            f"{count} {'row' if count == 1 else 'rows'} of interrupted jobs, which never wrote "
            f"their summary, {'is' if count == 1 else 'are'} ignored ({names})."
        )
    return Run(
        name=path.resolve().name,
        config=config,
        sessions=_read_sessions(path / "environment.json"),
        jobs=jobs,
        verdict=_read_verdict(path / "verdict.json"),
        ignored=tuple(ignored),
    )


def _is_run(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in RUN_FILES)


def _begun(path: Path) -> tuple[str, str]:
    sessions = _read_sessions(path / "environment.json")
    return str(sessions[0].get("started", "")) if sessions else "", path.name


def _load(path: Path, *, advice: str) -> Record:
    try:
        value = json.loads(path.read_bytes(), parse_constant=_null)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both
        raise ReportError(f"{path} is not valid JSON ({error}); {advice}") from error
    if not isinstance(value, dict):
        raise ReportError(f"{path} must hold a JSON object, not a {type(value).__name__}; {advice}")
    return value


def _null(_: str) -> None:
    """Read NaN and Infinity, which are not JSON, as the null that the contract asks for."""


def _read_config(path: Path) -> Record:
    if not path.is_file():
        raise ReportError(
            f"{path} is missing, so {path.parent} cannot be reported; run its command again"
        )
    config = _load(path, advice="restore it or run the experiment into a new directory")
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


def _read_rows(path: Path) -> tuple[list[Record], int | None]:
    """Return the rows, and the number of the last line if it is half-written."""
    if not path.is_file():
        return [], None
    lines = path.read_bytes().split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    rows: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line, parse_constant=_null)
        except ValueError as error:
            if number == len(lines):
                return rows, number
            raise ReportError(
                f"{path}, line {number} is damaged: not valid JSON ({error}); restore the file, "
                "or delete that line and run the command again"
            ) from error
        if (problem := _problem(row)) is not None:
            raise ReportError(
                f"{path}, line {number} is damaged: {problem}; restore the file, or delete that "
                "line and run the command again"
            )
        rows.append(row)
    return rows, None


def _problem(row: object) -> str | None:
    if not isinstance(row, dict):
        return f"a row is a JSON object, not a {type(row).__name__}"
    for field, kind in (("arm", str), ("seed", int), ("kind", str)):
        if not isinstance(row.get(field), kind):
            return f"{field!r} must be of type {kind.__name__}, got {row.get(field)!r}"
    return None


def _group(
    rows: Sequence[Record],
) -> tuple[tuple[Job, ...], dict[tuple[str, int], list[Record]]]:
    """Split rows into finished jobs and the rows of interrupted ones."""
    pending: dict[tuple[str, int], list[Record]] = {}
    done: dict[tuple[str, int], Job] = {}
    for row in rows:
        key = (row["arm"], row["seed"])
        pending.setdefault(key, []).append(row)
        if row["kind"] == "summary":
            done[key] = Job(arm=key[0], seed=key[1], rows=tuple(pending.pop(key)), summary=row)
    return tuple(done.values()), pending


def _read_sessions(path: Path) -> tuple[Record, ...]:
    if not path.is_file():
        return ()
    sessions = _load(path, advice="delete it to report the run without it").get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(one, dict) for one in sessions):
        raise ReportError(
            f"{path} needs a list of JSON objects 'sessions'; delete it to report without it"
        )
    return tuple(sessions)


def _read_verdict(path: Path) -> Verdict | None:
    if not path.is_file():
        return None
    advice = "delete it and run the same command again"
    verdict = _load(path, advice=advice)
    outcome, sentence = verdict.get("outcome"), verdict.get("sentence")
    details = verdict.get("details") or []
    if outcome not in OUTCOMES:
        raise ReportError(
            f"{path} has outcome {outcome!r}, which is none of {', '.join(OUTCOMES)}; {advice}"
        )
    if not isinstance(sentence, str) or not isinstance(details, list):
        raise ReportError(f"{path} needs a text 'sentence' and a list 'details'; {advice}")
    return Verdict(outcome=outcome, sentence=sentence, details=tuple(map(str, details)))


def rows_of(job: Job, kind: str) -> Iterator[Record]:
    """The rows of `job` of one kind."""
    return (row for row in job.rows if row["kind"] == kind)
