"""One tree in one safetensors file: its tensors as they are, the rest as JSON in its header.

The header names the format, its version, and the SHA-256 of the whole file with 64 zeros in its
own place. So every bit that was lost or changed is seen, and what is read is what was written.
Reading parses JSON and copies bytes: nothing in a file is run.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
from safetensors import SafetensorError
from typing_extensions import Buffer

from deqlab.runs.writing import replace_whole
from deqlab.training.checkpoints.tree import CheckpointError, Encoder, Tree, decode
from deqlab.version import __version__

FORMAT, VERSION = "deqlab checkpoint", "1"
"""What the header of a checkpoint says; the version grows when older readers cannot read it."""

MAX_HEADER = 100_000_000
"""The most bytes of a header that safetensors reads."""

_DIGEST = b'"sha256":"'
_ZEROS = b"0" * 64

AGAIN = "delete it to start again, or name another file"


def write(path: Path, tree: Mapping[str, Tree]) -> None:
    """Replace the checkpoint at `path`; a crash at any moment leaves the old one or the new one.

    Args:
        path: The file; it has one writer at a time.
        tree: What it shall hold.

    Raises:
        CheckpointError: A value is of another type, or the disk is full, or fails: then the old
            checkpoint is as it was.
    """
    encoder = Encoder()
    node = encoder.encode(dict(tree))
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "deqlab": __version__,
        "sha256": _ZEROS.decode(),
        "tree": json.dumps(node, allow_nan=False),
    }
    content = safetensors.torch.save(encoder.tensors, metadata)
    if int.from_bytes(content[:8], "little") > MAX_HEADER:
        raise CheckpointError(
            f"{path} would have more than {MAX_HEADER} bytes of plain values, which no reader of "
            "safetensors takes; keep them as tensors, or in a file of their own"
        )
    # In the tree, a text in a text, every quotation mark has a backslash before it.
    place = content.index(_DIGEST + _ZEROS) + len(_DIGEST)
    digest = hashlib.sha256(content).hexdigest().encode()
    view = memoryview(content)
    pieces: list[Buffer] = [view[:place], digest, view[place + len(digest) :]]
    try:
        replace_whole(path, pieces, path.with_name(f"{path.name}.new"))
    except OSError as error:
        raise CheckpointError(
            f"{path} could not be written ({error.strerror or error}); the checkpoint before, if "
            "there is one, is as it was: make room, and go on from there"
        ) from error


def read(path: Path) -> dict[str, Tree]:
    """Return what the checkpoint at `path` holds.

    Raises:
        CheckpointError: It is none, of another version, damaged or cut off.
    """
    content = _content(path)
    metadata, size = _header(path, content)
    if len(content) < size:
        raise CheckpointError(f"{path} was cut off: it has {len(content)} of {size} bytes; {AGAIN}")
    place = content.find(_DIGEST) + len(_DIGEST)
    digest = hashlib.sha256(content[:place] + _ZEROS)
    digest.update(memoryview(content)[place + len(_ZEROS) :])
    if digest.hexdigest() != metadata.get("sha256"):
        raise CheckpointError(f"{path} is damaged: its checksum is another; {AGAIN}")
    return _as_written(path, lambda: decode(_tree(metadata), safetensors.torch.load(content)))


def read_progress(path: Path) -> Mapping[str, Any]:
    """Return the plain values of a checkpoint's entry "progress" without a look at its tensors.

    Raises:
        CheckpointError: It is none, or of another version.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            content = start + file.read(min(int.from_bytes(start, "little"), MAX_HEADER))
    except OSError as error:
        _unreadable(path, error)
    metadata, _ = _header(path, content)
    return _as_written(path, lambda: _plain(_tree(metadata)["dict"]["progress"]["dict"]))


def _plain(nodes: Mapping[str, Any]) -> dict[str, Any]:
    kinds = (bool, int, float, str)
    return {name: node for name, node in nodes.items() if node is None or type(node) in kinds}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _unreadable(path, error)


def _unreadable(path: Path, error: OSError) -> NoReturn:
    raise CheckpointError(f"{path} cannot be read ({error.strerror or error})") from error


def _header(path: Path, content: bytes) -> tuple[Mapping[str, Any], int]:
    """Return the metadata of a checkpoint, and the size of its file in bytes."""
    end = 8 + int.from_bytes(content[:8], "little")
    try:
        if not 8 < end <= min(len(content), 8 + MAX_HEADER):
            raise ValueError
        header = json.loads(content[8:end])
        metadata = header.pop("__metadata__", {})
        size = end + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        found = metadata.get("format")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise CheckpointError(
            f"{path} is no checkpoint of deqlab, or only its first bytes; {AGAIN}"
        ) from None
    if found != FORMAT:
        raise CheckpointError(
            f"{path} is a safetensors file, but no checkpoint of a training run; its tensors can "
            f"be read by safetensors: {AGAIN}"
        )
    if metadata.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {metadata.get('version')!r} of the format, and this deqlab "
            f"({__version__}) reads version {VERSION!r}; use deqlab {metadata.get('deqlab')}, "
            "which wrote it, or start again with another file"
        )
    return metadata, size


def _tree(metadata: Mapping[str, Any]) -> Any:  # noqa: ANN401
    return json.loads(metadata["tree"])


def _as_written(path: Path, parse: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `parse` does; its errors mean that deqlab did not write this file."""
    try:
        return parse()
    except (
        CheckpointError,
        SafetensorError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RuntimeError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"{path} holds what no checkpoint of deqlab does ({error}); {AGAIN}"
        ) from error
