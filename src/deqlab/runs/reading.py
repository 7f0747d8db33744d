"""Read the files of a run directory, which anybody may have changed.

A report reads them, and so does a run that goes on: both through this module, so that they agree
on what is a row. A crash can only cut the end of rows.jsonl; whatever else is wrong with a file is
damage, and an error.
"""

import json
import math
import os
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
MAX_DEPTH = 100
"""How deep lists and objects may be in each other. Ours have 5; Python's stack ends before 1000."""

MAX_LINE = 2**26
"""Bytes of a row: 64 MiB. Our largest, a picture, has some thousands."""


class DamagedError(ValueError):
    """A file of a run does not hold what it should; the message says where and what."""


class NotJSONError(DamagedError):
    """A text is no JSON, as when its end has been cut off."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """What rows.jsonl holds.

    Attributes:
        rows: Its rows.
        torn: The number of the last line if only a part of it was written.
        ended: Whether the last row has its line end.
    """

    rows: list[dict[str, Any]]
    torn: int | None = None
    ended: bool = True


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        DamagedError: It holds something else, or cannot be read.
    """
    try:
        value = parse(path.read_bytes())
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror})") from error
    except DamagedError as error:
        raise DamagedError(f"{path} is {error}") from error
    if not isinstance(value, dict):
        raise DamagedError(f"{path} must hold a JSON object, not a {type(value).__name__}")
    return value


def read_sessions(path: Path) -> list[dict[str, Any]]:
    """Read the sessions of environment.json, of which there are none without the file.

    Raises:
        DamagedError: It holds something else.
    """
    if not os.path.lexists(path):
        return []
    sessions = read_object(path).get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(one, dict) for one in sessions):
        raise DamagedError(f"{path} needs a list of JSON objects 'sessions'")
    return sessions


def read_rows(path: Path) -> Lines:
    """Read rows.jsonl; a file that is not there has no rows, and blank lines are none.

    Raises:
        DamagedError: A line is no row, and not the last one, cut off.
    """
    rows: list[dict[str, Any]] = []
    torn, why, ended = None, "", True
    for number, line in _lines(path):
        if torn is not None:  # and yet this line follows
            raise DamagedError(why)
        where = f"{path}, line {number} is damaged"
        try:
            rows.append(parse_row(line))
            ended = line.endswith(b"\n")
        except NotJSONError as error:
            torn, why = number, f"{where}: {error}"
        except DamagedError as error:
            raise DamagedError(f"{where}: {error}") from error
    return Lines(rows=rows, torn=torn, ended=ended)


def parse_row(line: bytes) -> dict[str, Any]:
    """Parse one line of rows.jsonl.

    Raises:
        NotJSONError: It is no JSON.
        DamagedError: It is no row, or larger than any of ours.
    """
    if len(line) > MAX_LINE:
        raise DamagedError(f"longer than {MAX_LINE >> 20} MiB")
    row = parse(line)
    if not isinstance(row, dict):
        raise DamagedError(f"a row is a JSON object, not a {type(row).__name__}")
    for field, kind in (("arm", str), ("seed", int), ("kind", str)):
        value = row.get(field)
        if not isinstance(value, kind) or isinstance(value, bool):
            text = reprlib.repr(value)
            raise DamagedError(f"{field!r} must be of type {kind.__name__}, got {text}")
    return row


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers; of a long one no more than needed."""
    try:
        with path.open("rb") as file:
            number = 1
            while line := file.readline(MAX_LINE + 1):
                if not line.isspace():
                    yield number, line
                number += 1
    except FileNotFoundError:
        return
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror})") from error


def parse(text: bytes) -> object:
    """Parse JSON of UTF-8, with or without a byte order mark; what is not finite becomes None.

    Raises:
        NotJSONError: It is no JSON.
        DamagedError: It nests too deep, or has an integer of thousands of digits.
    """
    try:
        value = json.loads(
            text.decode("utf-8-sig"), parse_constant=lambda _: None, parse_float=_finite
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJSONError(f"not valid JSON ({error})") from error
    except ValueError as error:
        raise DamagedError(f"not readable ({error})") from error
    except RecursionError:
        raise DamagedError(TOO_DEEP) from None
    # Most lines need no look: they have not even so many brackets.
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _nests_too_deep(value):
        raise DamagedError(TOO_DEEP)
    return value


TOO_DEEP = f"nested more than {MAX_DEPTH} deep"


def _nests_too_deep(value: object) -> bool:
    """Return whether lists and objects are nested more than MAX_DEPTH deep."""
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list | tuple)]:
        if (depth := depth + 1) > MAX_DEPTH:
            return True
        level = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
    return False


def _finite(text: str) -> float | None:
    # 1e999 is a number of JSON, and an infinity of Python.
    value = float(text)
    return value if math.isfinite(value) else None


def count_rows(count: int) -> str:
    """Return "1 row", "2 rows"."""
    return f"{count} {'row' if count == 1 else 'rows'}"
