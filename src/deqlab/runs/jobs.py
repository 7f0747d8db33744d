"""Which rows of rows.jsonl count: those of finished jobs.

A job is one (arm, seed). Its rows are written together when it is done, the one of kind "summary"
at their end. A report and a run that goes on both ask here, so that they agree.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deqlab.runs.reading import Record

Key = tuple[str, int]
"""The arm and the seed of a job."""


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Rows, sorted by whether they count.

    Attributes:
        finished: The rows of each finished job; of a repeated one the later ones.
        unfinished: The number of rows of each job without a summary, or whose rows are scattered.
        repeated: The number of rows of each finished job that a later repetition replaces.
    """

    finished: dict[Key, list[dict[str, Any]]]
    unfinished: dict[Key, int]
    repeated: dict[Key, int]


def key_of(row: Record) -> Key:
    """Return the arm and the seed of a row."""
    return row["arm"], row["seed"]


def jobs_of(rows: Iterable[dict[str, Any]]) -> Jobs:
    """Sort rows into finished jobs, in the order of their summaries, and what is left of others.

    Rows of a job may stand apart from its summary: they are a part of it, or an earlier attempt
    left them. Where they begin with the same kind of row as those that stand with the summary,
    nobody can tell which: then the job counts as unfinished, since running it again is right in
    either case.
    """
    jobs = Jobs(finished={}, unfinished={}, repeated={})
    apart: dict[Key, list[dict[str, Any]]] = {}
    for block in _blocks(rows):
        key = key_of(block[-1])
        if block[-1]["kind"] != "summary":
            apart.setdefault(key, []).extend(block)
            continue
        if key in apart and apart[key][0]["kind"] != block[0]["kind"]:
            block = [*apart.pop(key), *block]
        if key in jobs.finished:
            jobs.repeated[key] = jobs.repeated.get(key, 0) + len(jobs.finished.pop(key))
        jobs.finished[key] = block
    for key, others in apart.items():
        jobs.unfinished[key] = len(others) + len(jobs.finished.pop(key, []))
    return jobs


def _blocks(rows: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return rows that stand together and are of one job, a summary at the end of its block."""
    blocks: list[list[dict[str, Any]]] = []
    for row in rows:
        last = blocks[-1][-1] if blocks else None
        if last is None or key_of(last) != key_of(row) or last["kind"] == "summary":
            blocks.append([])
        blocks[-1].append(row)
    return blocks


def in_words(counts: dict[Key, int]) -> str:
    """Name the jobs that `counts` has: "deq with seed 0, fnn with seed 1"."""
    return ", ".join(f"{arm} with seed {seed}" for arm, seed in counts)
