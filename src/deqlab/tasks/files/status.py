"""Which files are on this machine, and the download of those that are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from deqlab.tasks.files.dataset import Dataset, File
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.registry import NAMES, find_dataset
from deqlab.tasks.files.store import absent, download_into, find, listing, search_folders


class FileState(StrEnum):
    """The result of the search for a file."""

    FOUND = "found"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True)
class FileStatus:
    """One file of one data set, and the result of the search for it, in a word and a sentence."""

    data_set: str
    file: str
    state: FileState
    path: Path | None  # where it was found, verified
    sentence: str


def inspect(data_dir: Path | None = None, *, names: Sequence[str] = NAMES) -> list[FileStatus]:
    """Look for every file of data sets, verify what is there, and download nothing.

    Args:
        data_dir: The user's folder; if None, that of DEQLAB_DATA, if it is set.
        names: The data sets; default: all that deqlab brings.

    Returns:
        One entry per file, set by set; a set that is bundled counts as one file.

    Raises:
        DataError: The user's folder was given and is not a folder, or a name is unknown.
    """
    return [status for name in names for status in _states(find_dataset(name), data_dir)]


def fetch(name: str, *, data_dir: Path | None = None, progress: bool = True) -> list[Path]:
    """Make sure that the files of a public data set are on this machine, and verified.

    With `data_dir`, they will all be in `<data_dir>/<folder>`, ready to be carried
    elsewhere. Without, what neither DEQLAB_DATA nor the cache holds is downloaded into
    the cache. A damaged file in the folder that is fetched to is replaced, once its
    replacement is verified.

    Args:
        name: One of `SOURCES`.
        data_dir: Where to put the files; created if absent.
        progress: Whether to draw progress bars, on standard error.

    Returns:
        The paths of the files.

    Raises:
        DataError: The name is unknown, or that of a set without download; a file could not be
            downloaded or written; or DEQLAB_DATA holds a damaged one, which is not ours to replace.
    """
    dataset = find_dataset(name)
    if not dataset.files:
        source = dataset.bundled_with or "code of yours"
        raise DataError(f"{name} is bundled with {source} and has no files to fetch")
    if not dataset.mirrors:
        files = "file" if len(dataset.files) == 1 else "files"
        raise DataError(
            f"{name} has no download; `deqlab data {name}` says where to put its {files}"
        )
    return fetch_files(dataset, data_dir=data_dir, progress=progress)


def fetch_files(
    dataset: Dataset[Any], *, data_dir: Path | None = None, progress: bool = True
) -> list[Path]:
    """Do what `fetch` does, for a data set that need not be one of the registered ones."""
    if data_dir is None:
        folders = search_folders(dataset.folder)
    else:
        folders = (data_dir.expanduser() / dataset.folder,)
    paths = {file.name: _usable(dataset, file, folders) for file in dataset.files}
    missing = [file for file in dataset.files if paths[file.name] is None]
    fetched = download_into(folders, dataset, missing, progress=progress)
    paths.update((file.name, path) for file, path in zip(missing, fetched, strict=True))
    return [path for path in paths.values() if path is not None]


def _usable(dataset: Dataset[Any], file: File, folders: Sequence[Path]) -> Path | None:
    """Find a verified copy; damage is an error, save in the last folder, which is ours to mend."""
    copy = find(dataset, file, folders[:-1])
    if copy is None:
        try:
            copy = find(dataset, file, folders[-1:])
        except DataError:
            return None
    return None if copy is None else copy[0]


def _states(dataset: Dataset[Any], data_dir: Path | None) -> list[FileStatus]:
    """Look for the files of one data set."""
    if dataset.files:
        folders = search_folders(dataset.folder, data_dir)
        return [_state(dataset, file, folders) for file in dataset.files]
    return [
        FileStatus(
            data_set=dataset.name,
            file="(none)",
            state=FileState.FOUND,
            path=None,
            sentence="made by itself"
            if dataset.bundled_with is None
            else f"bundled with {dataset.bundled_with}",
        )
    ]


def _state(dataset: Dataset[Any], file: File, folders: Sequence[Path]) -> FileStatus:
    """Look for one file."""
    path = None
    try:
        copy = find(dataset, file, folders)
    except DataError as error:
        state, sentence = FileState.DAMAGED, str(error)
    else:
        if copy is not None:
            state, path = FileState.FOUND, copy[0]
            sentence = f"verified in {path.parent}"
        else:
            state, sentence = FileState.MISSING, absent(dataset, [file], folders)
            if dataset.mirrors:
                sentence = f"not in {listing(folders)}; it can be fetched"
    return FileStatus(
        data_set=dataset.name, file=file.archive, state=state, path=path, sentence=sentence
    )
