"""Write JSON that every parser reads, and files that are whole or as they were.

What is not finite has no name in JSON: null stands for it, at any depth. A name that was no UTF-8
reaches Python with halves of surrogate pairs in it, which UTF-8 cannot hold either: JSON has
escapes for them, and they are read back as they were.
"""

import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from typing_extensions import Buffer

from deqlab.runs.reading import TOO_DEEP

TEMPORARY = re.compile(r"\.deqlab-\d+\.tmp")
"""Names of files that a process leaves if it is killed while it writes another."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def to_json(value: Any, *, indent: int | None = None) -> str:  # noqa: ANN401
    """Return `value` as JSON, ready for a file in UTF-8.

    Args:
        value: The value, of dicts with text as keys, lists, tuples, texts, numbers, bools and None.
        indent: The indent of each level; None for one line.

    Raises:
        TypeError: It is of something else.
        ValueError: It is nested too deep to be read again.
    """
    try:
        text = json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    # Outside of its texts JSON is ASCII.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):  # it would be read back as a text
                raise TypeError(f"a name in JSON is a text, not {name!r}")
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a crash or a full disk leaves the old one or the new one, whole.

    A link stays a link, and what is no file (a pipe, /dev/stdout) is written to as it is.

    Raises:
        OSError: The disk is full, or fails; the old file is as it was.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    path = Path(os.path.realpath(path))
    # With the number of the process: of two that write at a time each leaves a whole file.
    replace_whole(path, [text.encode("utf-8")], path.with_name(f".deqlab-{os.getpid()}.tmp"))


def replace_whole(path: Path, pieces: Iterable[Buffer], temporary: Path) -> None:
    """Replace a file by these bytes, in one step that is on the disk when this returns.

    Args:
        path: The file.
        pieces: Its new content.
        temporary: Where it is written first, in the same folder.

    Raises:
        OSError: The disk is full, or fails; the old file is as it was.
    """
    try:
        with temporary.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    with suppress(OSError):  # some systems sync no folders: there the name may be old after a crash
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
