"""`load`: a data set by its name."""

from pathlib import Path
from typing import Any

from deqlab.tasks.files.made import made
from deqlab.tasks.files.registry import DATASETS, find_dataset
from deqlab.tasks.files.store import read_files


def load(
    name: str, *, data_dir: Path | None = None, download: bool = True, progress: bool = True
) -> Any:  # noqa: ANN401
    """Load a data set, verified by its checksums.

    What is not bundled with a package is looked for in `data_dir`, else in the folder that
    DEQLAB_DATA names, then in the cache directory, and is else downloaded there, if it has a
    download. `DATASETS[name]` says what it holds, how it is split, who made it, and its licence.

    Args:
        name: One of `NAMES`, one that a package registers, or MODULE:NAME of a `Dataset`.
        data_dir: A folder that holds the folder `name`, or is that folder itself.
        download: Whether to download what is absent.
        progress: Whether to draw a progress bar, on standard error, if it does.

    Returns:
        A value of type `DATASETS[name].kind`, such as `ImageData`, on the CPU. It is read anew
        at every call.

    Raises:
        DataError: The name is unknown, `data_dir` is not a folder, a file is damaged, or
            one is absent and could not be downloaded; or a data set of yours makes something
            else than it says.

    Example:
        >>> data = load("digits")
        >>> data.x_train.shape, data.shape
        (torch.Size([1437, 64]), (1, 8, 8))
    """
    dataset = find_dataset(name)
    contents: tuple[Any, ...] = ()
    if dataset.files:
        contents = read_files(dataset, data_dir=data_dir, download=download, progress=progress)
    if name in DATASETS:
        return dataset.make(dataset, *contents)
    return made(dataset, contents, name=name)
