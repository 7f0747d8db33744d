"""The memory that is free, compared with what the content of a file needs before it is read.

An operating system that promises more memory than it has ends the process when the promise is
called in, without a sentence; so the size of an array is compared with what is free first.
"""

import os
from pathlib import Path

from deqlab.tasks.files.errors import DataError

_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")
_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")  # the limits of a container, version 2


def require_memory(needed: int, *, where: str) -> None:
    """Raise unless that much memory is free, or nobody can tell.

    Args:
        needed: The number of bytes.
        where: The file that needs them, for the error message.

    Raises:
        DataError: Less is free.
    """
    free = available_memory()
    if free is not None and needed > free:
        raise DataError(
            f"{where} takes {in_words(needed)} of memory, and {in_words(free)} are free; give a "
            "part of it"
        )


def available_memory() -> int | None:
    """Return the bytes that this process can still take, None where the system does not say."""
    known = [free for free in (_of_the_machine(), _of_the_group()) if free is not None]
    return min(known, default=None)


def in_words(size: int) -> str:
    """Write a number of bytes with three digits and a unit.

    Example:
        >>> in_words(8_000_000_000_000)
        '8 TB'
    """
    power = min((len(str(size)) - 1) // 3, len(_UNITS) - 1)
    return f"{size / 1000**power:.3g} {_UNITS[power]}"


def _of_the_machine() -> int | None:
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:  # all there is: macOS does not say what is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _of_the_group() -> int | None:
    try:
        limit, used = (
            int((_GROUP / name).read_text(encoding="ascii"))
            for name in ("memory.max", "memory.current")
        )
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    return max(limit - used, 0)
