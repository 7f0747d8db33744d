"""Download one file: all of it, verified, or nothing.

The files are small enough to be received and verified in memory. Only then are they
written, to a temporary file beside the target that takes the target's name in one step.
Whatever interrupts that, the target is whole or absent.
"""

import http.client
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from deqlab.tasks.files.dataset import File
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.originals import read_original

_CHUNK = 1 << 16  # bytes


class UnreachableError(DataError):
    """No mirror sent the file whole; the message gives the reason of each."""


def download_file(
    file: File,
    mirrors: Sequence[str],
    folder: Path,
    *,
    progress: bool = True,
    timeout: float = 20.0,
) -> Path:
    """Download one published file into `folder`, from the first mirror that has it whole.

    Args:
        file: The file, with its checksum.
        mirrors: Folders as http or https URLs that end in "/", tried in order, once each.
        folder: Where to put `file.archive`; created if absent.
        progress: Whether to draw a progress bar, on standard error.
        timeout: Seconds without an answer after which a mirror is given up.

    Returns:
        The path of the downloaded file.

    Raises:
        UnreachableError: Every mirror failed.
        DataError: `folder` cannot be written.
        ValueError: A mirror is neither http nor https.
    """
    for mirror in mirrors:
        if urlsplit(mirror).scheme not in ("http", "https"):
            raise ValueError(f"mirrors must be http or https URLs, got {mirror!r}")
    reasons = []
    for mirror in mirrors:
        try:
            data = _receive(mirror + file.archive, file, progress=progress, timeout=timeout)
            read_original(data, file, where="what it sent")
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            reason = f"HTTP {error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (OSError, http.client.HTTPException, DataError) as error:
            reason = str(error)
        else:
            return _write(data, folder / file.archive)
        reasons.append(f"{urlsplit(mirror).netloc}: {reason}")
    raise UnreachableError(f"{file.archive} could not be downloaded ({'; '.join(reasons)})")


def _receive(url: str, file: File, *, progress: bool, timeout: float) -> bytes:
    """Read the whole answer to a request for `url`, and not a byte less than it promised."""
    request = urllib.request.Request(url, headers={"User-Agent": "deqlab"})
    most = file.most_bytes
    received = bytearray()
    with urllib.request.urlopen(request, timeout=timeout) as response:
        promised: int | None = response.length  # of the Content-Length header
        with _progress_bar(visible=progress) as bar:
            task = bar.add_task(file.archive, total=promised)
            while chunk := response.read(_CHUNK):
                received += chunk
                if len(received) > most:
                    raise DataError(f"it sent more than {most} bytes, which cannot be this file")
                bar.update(task, completed=len(received))
    if promised is not None and len(received) != promised:
        raise DataError(f"the connection closed after {len(received)} of {promised} bytes")
    return bytes(received)


def _write(data: bytes, target: Path) -> Path:
    """Write `data` so that `target` is at every moment either absent, old, or complete."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{target} cannot be written ({error.strerror}); make room there, or choose another "
            "folder with --data-dir or DEQLAB_DATA"
        ) from error
    return target


def _progress_bar(*, visible: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),  # standard output is for results
        disable=not visible,
    )
