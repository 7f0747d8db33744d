"""What is there, what is not, and how to get it: the two halves of `deqlab data`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.sets import cifar10
from deqlab.tasks.files.sources import CIFAR10, DIGITS, SOURCES, Source, SourceFile, find_source
from deqlab.tasks.files.store import download_into, find, listing, search_folders


class FileState(StrEnum):
    """What `inspect` has to say about a file."""

    FOUND = "found"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True)
class FileStatus:
    """One file of one data set: what became of the search for it, in a word and a sentence."""

    data_set: str
    file: str
    state: FileState
    path: Path | None  # where it was found, verified
    sentence: str


def inspect(data_dir: Path | None = None) -> list[FileStatus]:
    """Look for every file of every image set, verify what is there, and download nothing.

    Args:
        data_dir: The user's folder; if None, that of DEQLAB_DATA, if it is set.

    Returns:
        One entry per file, set by set; the bundled digits count as one file.

    Raises:
        DataError: The user's folder was given and is not a folder.
    """
    bundled = FileStatus(
        data_set=DIGITS,
        file="(none)",
        state=FileState.FOUND,
        path=None,
        sentence="bundled with scikit-learn",
    )
    published = [
        _status(source, file, search_folders(source.name, data_dir))
        for source in SOURCES.values()
        for file in source.files
    ]
    return [bundled, *published, _cifar10(data_dir)]


def fetch(name: str, *, data_dir: Path | None = None, progress: bool = True) -> list[Path]:
    """Make sure that the files of a public data set are on this machine, and verified.

    With `data_dir`, they will all be in `<data_dir>/<name>`, ready to be carried
    elsewhere. Without, what neither DEQLAB_DATA nor the cache holds is downloaded into
    the cache. A damaged file in the folder that is fetched to is replaced, once its
    replacement is verified.

    Args:
        name: "mnist" or "fashion_mnist".
        data_dir: Where to put the files; created if absent.
        progress: Whether to draw progress bars, on standard error.

    Returns:
        The paths of the four files.

    Raises:
        DataError: The name is unknown; a file could not be downloaded or written; or
            DEQLAB_DATA holds a damaged one, which is not ours to replace.
    """
    return fetch_source(find_source(name), data_dir=data_dir, progress=progress)


def fetch_source(
    source: Source, *, data_dir: Path | None = None, progress: bool = True
) -> list[Path]:
    """Do what `fetch` does, for a source that need not be one of the public ones."""
    if data_dir is None:
        folders = search_folders(source.name)
    else:
        folders = (data_dir.expanduser() / source.name,)
    paths = {file.name: _usable(source, file, folders) for file in source.files}
    missing = [file for file in source.files if paths[file.name] is None]
    fetched = download_into(folders, source, missing, progress=progress)
    paths.update((file.name, path) for file, path in zip(missing, fetched, strict=True))
    return [path for path in paths.values() if path is not None]


def _usable(source: Source, file: SourceFile, folders: Sequence[Path]) -> Path | None:
    """Find a verified copy; damage is an error, save in the last folder, which is ours to mend."""
    copy = find(source, file, folders[:-1])
    if copy is None:
        try:
            copy = find(source, file, folders[-1:])
        except DataError:
            return None
    return None if copy is None else copy[0]


def _status(source: Source, file: SourceFile, folders: Sequence[Path]) -> FileStatus:
    try:
        copy = find(source, file, folders)
    except DataError as error:
        state, path, sentence = FileState.DAMAGED, None, str(error)
    else:
        if copy is None:
            state, path = FileState.MISSING, None
            sentence = f"not in {listing(folders)}; it can be fetched"
        else:
            state, path = FileState.FOUND, copy[0]
            sentence = f"verified in {path.parent}"
    return FileStatus(
        data_set=source.name, file=file.archive, state=state, path=path, sentence=sentence
    )


def _cifar10(data_dir: Path | None) -> FileStatus:
    path = cifar10.find(data_dir)
    state, sentence = FileState.MISSING, cifar10.absent(data_dir)
    if path is not None:
        try:
            cifar10.read_file(path)
        except DataError as error:
            path, state, sentence = None, FileState.DAMAGED, str(error)
        else:
            state, sentence = FileState.FOUND, f"verified in {path.parent}"
    return FileStatus(
        data_set=CIFAR10, file=cifar10.FILE, state=state, path=path, sentence=sentence
    )
