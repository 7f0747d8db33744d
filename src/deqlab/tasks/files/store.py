"""Where the files of a data set are looked for, found, and downloaded to.

The search goes through a user's own folder, given as an argument or else by the
environment variable DEQLAB_DATA, and then through the cache directory. The user's folder
either holds one folder per data set or is itself the folder of one. A copy has the name
under which the file is published or the file's own name: "mnist" is published gzipped, and
its files may also be uncompressed, without ".gz".
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs

from deqlab.tasks.files.dataset import Dataset, File
from deqlab.tasks.files.download import UnreachableError, download_file
from deqlab.tasks.files.errors import DataError, OtherFileError
from deqlab.tasks.files.originals import read_original

ENVIRONMENT_VARIABLE = "DEQLAB_DATA"


def cache_dir() -> Path:
    """Return the directory that downloads go to, which need not exist yet."""
    return platformdirs.user_cache_path("deqlab") / "data"


def search_folders(folder: str, data_dir: Path | None = None) -> tuple[Path, ...]:
    """List the folders in which the files of a data set are looked for, in order.

    Args:
        folder: The name of the folder of the data set.
        data_dir: The user's folder; if None, that of DEQLAB_DATA, if it is set.

    Returns:
        `<data_dir>/<folder>` and `<data_dir>` if there is a user's folder, then the cache's.

    Raises:
        DataError: The user's folder was given and is not a folder.
    """
    cached = cache_dir() / folder
    if data_dir is not None:
        given, root = "--data-dir", data_dir.expanduser()
    elif text := os.environ.get(ENVIRONMENT_VARIABLE):
        given, root = ENVIRONMENT_VARIABLE, Path(text).expanduser()
    else:
        return (cached,)
    if not root.is_dir():
        raise DataError(f"{root}, given as {given}, is not a folder; create it or correct the path")
    return (root / folder, root, cached)


def find(dataset: Dataset[Any], file: File, folders: Sequence[Path]) -> tuple[Path, Any] | None:
    """Return the path and the content of the first copy of `file`, or None if there is none.

    Raises:
        DataError: The first copy is unreadable or not the original. A damaged file is
            never passed over in favour of a later folder.
    """
    for folder in folders:
        for name in dict.fromkeys((file.archive, file.name)):
            path = folder / name
            try:
                if not path.is_file():
                    continue
                if path.stat().st_size > file.most_bytes:  # it may be more than memory holds
                    raise DataError(
                        f"{path} is not the original: it has more than {file.most_bytes} bytes; "
                        + _remedy(dataset)
                    )
                return path, read_original(path.read_bytes(), file, where=str(path))
            except OtherFileError:
                # Sets may use the same file names, so in a folder that does not bear the
                # set's name this is no damage but another set.
                if folder.name == dataset.folder:
                    raise
            except OSError as error:
                raise DataError(
                    f"{path} cannot be read ({error.strerror}); check its permissions"
                ) from error
    return None


def read_files(
    dataset: Dataset[Any],
    *,
    data_dir: Path | None = None,
    download: bool = True,
    progress: bool = True,
) -> tuple[Any, ...]:
    """Return the content of `dataset.files`, verified, downloading to the cache what is absent.

    Raises:
        DataError: A file is damaged; or it is absent and could not be downloaded.
    """
    folders = search_folders(dataset.folder, data_dir)
    found = {file.name: find(dataset, file, folders) for file in dataset.files}
    missing = [file for file in dataset.files if found[file.name] is None]
    if missing and not dataset.mirrors:
        raise DataError(absent(dataset, missing, folders))
    if missing and not download:
        raise DataError(absent(dataset, missing, folders, reason="downloading is switched off"))
    download_into(folders, dataset, missing, progress=progress)
    for file in missing:
        found[file.name] = find(dataset, file, folders[-1:])
    return tuple(copy[1] for copy in found.values() if copy is not None)


def download_into(
    folders: Sequence[Path], dataset: Dataset[Any], missing: Sequence[File], *, progress: bool
) -> list[Path]:
    """Download the missing files into the last of the folders that were searched for them.

    Raises:
        DataError: A file could not be downloaded or written.
    """
    try:
        return [
            download_file(file, dataset.mirrors, folders[-1], progress=progress) for file in missing
        ]
    except UnreachableError as error:
        raise DataError(absent(dataset, missing, folders, reason=str(error))) from error


def absent(
    dataset: Dataset[Any],
    missing: Sequence[File],
    folders: Sequence[Path],
    *,
    reason: str = "has no download",
) -> str:
    """Return the sentence that says where the files were looked for, and where to put them."""
    verdict = "not" if len(missing) == len(dataset.files) else "not complete"
    return (
        f"{dataset.name} is {verdict} on this machine (looked in {listing(folders)}) and {reason}; "
        f"put {listing([file.archive for file in missing])} into {folders[-1]}, or point "
        f"--data-dir or {ENVIRONMENT_VARIABLE} at a folder that holds {dataset.folder}/"
    )


def listing(items: Sequence[object]) -> str:
    """Join the items by commas, for a sentence."""
    return ", ".join(str(item) for item in items)


def _remedy(dataset: Dataset[Any]) -> str:
    if dataset.mirrors:
        return "delete the file and fetch it again"
    return "replace it with the original"
