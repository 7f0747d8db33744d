"""Which data sets there are, by name and by the type of their value.

A data set is registered by being defined: every `Dataset` in a module of `sets/` is one. Its name
stands nowhere else; the command line, the configs of experiments and the messages of errors ask
here.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from deqlab.own.registry import Registry
from deqlab.own.target import OwnCodeError
from deqlab.tasks.files import sets
from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.errors import DataError


def defined() -> Iterator[Dataset[Any]]:
    """Yield the data sets of all modules of `sets/`, those of one module in its order."""
    for found in pkgutil.iter_modules(sets.__path__):
        module = importlib.import_module(f"{sets.__name__}.{found.name}")
        yield from (value for value in vars(module).values() if isinstance(value, Dataset))


def _effort(dataset: Dataset[Any]) -> int:
    """Return 0 for what is bundled, 1 for what can be downloaded, 2 for the rest."""
    return 0 if not dataset.files else 1 if dataset.mirrors else 2


DATASETS = {dataset.name: dataset for dataset in sorted(defined(), key=_effort)}
"""All data sets by name: first those that are bundled, then those that can be downloaded."""

NAMES = tuple(DATASETS)
"""The names of all data sets that deqlab brings."""

REGISTRY: Registry[Dataset[Any]] = Registry(
    Dataset, DATASETS, group="deqlab.datasets", what="data set"
)
"""These, those that packages register, and those of modules."""

SOURCES = {name: dataset for name, dataset in DATASETS.items() if dataset.mirrors}
"""The data sets that can be downloaded."""


def names_of(kind: type) -> tuple[str, ...]:
    """Return the names of the data sets whose values are of this type.

    Example:
        >>> from deqlab.tasks import ImageData
        >>> "digits" in names_of(ImageData)
        True
    """
    return tuple(name for name, dataset in DATASETS.items() if issubclass(dataset.kind, kind))


def find_dataset(name: str) -> Dataset[Any]:
    """Return the data set called `name`, or that of the user's under MODULE:NAME.

    Raises:
        DataError: There is none; the message has the closest name, or all of them. Or it is one
            of the user's that cannot be imported, or is none.
    """
    if name in DATASETS:
        return DATASETS[name]
    try:
        return REGISTRY.find(name)
    except OwnCodeError as error:
        raise DataError(str(error)) from error


def require_kind(name: str, kind: type) -> None:
    """Raise DataError unless a data set of the user's has values of this type."""
    found = find_dataset(name)
    if not issubclass(found.kind, kind):
        raise DataError(
            f"the data set {name} holds {found.kind.__name__}, and what is needed here is "
            f"{kind.__name__}"
        )
