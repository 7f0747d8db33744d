"""Samples in a file of the user's: .npy, .npz or .csv."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from deqlab.tasks.errors import DataError

SUFFIXES = (".npy", ".npz", ".csv")
LABELS = ("label", "labels", "class", "target", "y")
"""What a column or an array of labels may be called."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """A table of numbers, one sample a row.

    Attributes:
        x: The samples.
        labels: Their classes, numbered from 0 in ascending order of what the file calls them;
            all 0 if the file names none.
    """

    x: Float64[np.ndarray, "n p"]
    labels: Int64[np.ndarray, " n"]


def read_samples(path: Path) -> Samples:
    """Read samples, and their labels if the file has them.

    .npy holds the matrix, one sample a row; .npz the matrix as the array "x", and labels as
    "labels"; .csv one sample a line, with or without a line of names, and labels in a column
    of such a name. Other names of labels are "label", "class", "target" and "y".

    Raises:
        DataError: There is no such file, or it holds something else.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path} is none of {', '.join(SUFFIXES)}; convert it to one of them")
    if not path.is_file():
        raise DataError(f"{path} does not exist, or is no file")
    try:
        x, labels = (_read_csv if path.suffix == ".csv" else _read_numpy)(path)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {error}") from error
    if x.ndim > 2:
        x = x.reshape(len(x), -1)  # images
    if x.ndim != 2 or 0 in x.shape:
        raise DataError(f"{path} must hold a matrix, one sample a row; its shape is {x.shape}")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{path} must hold real numbers; it holds {x.dtype}")
    if labels is None:
        labels = np.zeros(len(x), dtype=np.int64)
    if labels.shape != (len(x),):
        raise DataError(
            f"{path} has {len(x)} samples, and labels of shape {labels.shape}: give one a sample"
        )
    numbers = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return Samples(x=x.astype(np.float64), labels=numbers)


def _read_numpy(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with path.open("rb") as file:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found, None
        if "x" not in found:
            raise DataError(
                f'{path} needs an array "x", one sample a row; it has {", ".join(found) or "none"}'
            )
        names = [name for name in LABELS if name in found]
        return found["x"], found[names[0]] if names else None


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    text = np.genfromtxt(path, delimiter=",", dtype=str, encoding="utf-8", ndmin=2)
    if text.size == 0:
        raise DataError(f"{path} is empty")
    names = [name.strip().lower() for name in text[0]]
    if all(_is_number(name) for name in names):
        names = []
    else:
        text = text[1:]
    labels = [i for i, name in enumerate(names) if name in LABELS]
    rest = [i for i in range(text.shape[1]) if i not in labels[:1]]
    return _numbers(text[:, rest], path), text[:, labels[0]] if labels else None


def _numbers(text: np.ndarray, path: Path) -> np.ndarray:
    try:
        return text.astype(np.float64)
    except ValueError:
        line, column = next((i, j) for (i, j), word in np.ndenumerate(text) if not _is_number(word))
        raise DataError(
            f"{path} holds {str(text[line, column])!r} in sample {line + 1}, where a number "
            f"belongs; labels go into a column called {LABELS[0]!r}"
        ) from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
