"""Samples in a file of the user's: .csv or .tsv, .npy or .npz."""

import zipfile
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from deqlab.tasks.files.arrays import members, read_array, type_of
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.tables.classes import (
    Classes,
    classes_of_array,
    classes_of_texts,
    described,
    find_label,
    listed,
    plural,
    refuse_a_regression,
    shown,
)
from deqlab.tasks.files.tables.delimited import read_delimited

SUFFIXES = (".npy", ".npz", ".csv", ".tsv")
SAMPLES = "x"
"""The name of the array of samples in an .npz archive."""

NO_LABELS = "no labels, so all are one class (--label names those of a file)"

_ZIP, _NPY = b"PK", b"\x93NUMPY"  # how the files begin


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """A table of numbers, one sample a row.

    Attributes:
        x: The samples; all numbers are finite.
        labels: Their classes, numbered from 0 in ascending order of what the file calls them;
            all 0 if the file names none.
        description: One line on how the file was understood.
    """

    x: Float64[np.ndarray, "n p"]
    labels: Int64[np.ndarray, " n"]
    description: str


def read_samples(path: Path, *, label: str | None = None) -> Samples:
    """Read samples, and their labels if the file has them.

    .npy holds the matrix, one sample a row; .npz the matrix as the array "x", and labels as
    another. .csv and .tsv hold one sample a line, with commas, semicolons or tabs between the
    cells, and with or without a line of names; without one the columns are called 1, 2, 3, ...
    A first column without a name holds names of rows, and is left out. "#" starts no comment.
    Labels are numbers or texts; "1" and "1.0" are the same one.

    Args:
        path: The file.
        label: The name of the column or array of labels. If None, it is the only one that is
            called "label", "labels", "class", "target" or "y", and `description` says so.

    Raises:
        DataError: There is no such file, or it holds something else, or a cell without a finite
            number; the message says where.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} is none of {', '.join(SUFFIXES)}; convert it to one of them")
    if not path.is_file():
        raise DataError(f"{path} does not exist, or is no file")
    text = path.suffix.lower() in (".csv", ".tsv")
    try:
        return (_from_text if text else _from_numpy)(path, label)
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory; give a part of it") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _from_text(path: Path, label: str | None) -> Samples:
    found = read_delimited(path, label)
    columns, classes, said = found.columns, None, NO_LABELS
    if columns.label is not None:
        name = columns.names[columns.label]
        classes = classes_of_texts(found.labels)
        if label is None:
            refuse_a_regression(classes, name, where=str(path), what="column")
        said = described(classes, name, asked=label is not None, what="column")
    first, last = shown(columns.features[0]), shown(columns.features[-1])
    span = first if len(columns.features) == 1 else f"{first} to {last}"
    return _samples(path, found.x, classes, [f" ({span}), {said}", *found.notes])


def _from_numpy(path: Path, label: str | None) -> Samples:
    try:
        with path.open("rb") as file:
            if file.peek(len(_ZIP)).startswith(_ZIP):
                with zipfile.ZipFile(file) as archive:
                    return _from_archive(path, archive, label)
            return _from_array(path, file, label)
    except (DataError, OSError, MemoryError):
        raise
    except Exception as error:  # damaged archives and headers raise a dozen kinds
        reason = shown(" ".join(str(error).split()), 200) or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}") from error


def _from_array(path: Path, file: BufferedReader, label: str | None) -> Samples:
    if not file.peek(len(_NPY)).startswith(_NPY):
        raise DataError(f"{path} cannot be read: it does not begin as numpy's files do")
    if label is not None:
        raise DataError(
            f"{path} holds one array, and no place for labels ({shown(label)}); save both into an "
            ".npz file"
        )
    x = read_array(file, path.stat().st_size, where=str(path))
    return _samples(path, _matrix(x, where=str(path)), None, [f", {NO_LABELS}"])


def _from_archive(path: Path, archive: zipfile.ZipFile, label: str | None) -> Samples:
    found = members(archive)

    def read(name: str) -> np.ndarray:
        with archive.open(found[name]) as member:
            return read_array(member, found[name].file_size, where=place_of(name))

    def place_of(name: str) -> str:
        return f"array '{shown(name)}' of {path}"

    if SAMPLES not in found:
        raise DataError(
            f'{path} needs an array "{SAMPLES}", one sample a row; it has {listed(list(found))}'
        )
    others = [name for name in found if name != SAMPLES]
    place = find_label(others, label, where=str(path), what="array")
    x = _matrix(read(SAMPLES), where=place_of(SAMPLES))
    if place is None:
        return _samples(path, x, None, [f", {NO_LABELS}"])
    name, labels = others[place], read(others[place])
    if labels.shape != (len(x),):
        raise DataError(
            f"{path} has {len(x)} samples, and labels of shape {labels.shape}: give one a sample"
        )
    classes = classes_of_array(labels, where=place_of(name))
    if label is None:
        refuse_a_regression(classes, name, where=str(path), what="array")
    said = described(classes, name, asked=label is not None, what="array")
    return _samples(path, x, classes, [f", {said}"])


def _matrix(x: np.ndarray, *, where: str) -> Float64[np.ndarray, "n p"]:
    """Return samples as rows of numbers; images are flattened."""
    if x.ndim < 2 or 0 in x.shape:
        raise DataError(f"{where} must hold a matrix, one sample a row; its shape is {x.shape}")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{where} must hold real numbers; it holds {type_of(x.dtype)}")
    with np.errstate(over="ignore"):  # a long double beyond float64 is inf, and refused below
        x = x.reshape(len(x), -1).astype(np.float64)
    finite = np.isfinite(x)
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        raise DataError(
            f"{where} holds nan or inf, first in row {row + 1}, column {column + 1} (counted from "
            "1): remove or impute them"
        )
    return x


def _samples(
    path: Path, x: Float64[np.ndarray, "n p"], classes: Classes | None, said: list[str]
) -> Samples:
    size = f"{plural(len(x), 'sample', 'samples')} of {plural(x.shape[1], 'feature', 'features')}"
    return Samples(
        x=x,
        labels=np.zeros(len(x), np.int64) if classes is None else classes.of_samples,
        description=f"{shown(path.name)}: {size}{'; '.join(said)}",
    )
