"""Data and targets to learn: a sawtooth, and four image sets, digits to cifar10."""

from deqlab.tasks import sawtooth
from deqlab.tasks.errors import DataError
from deqlab.tasks.images import ImageData, load
from deqlab.tasks.sources import NAMES, SOURCES
from deqlab.tasks.status import FileState, FileStatus, fetch, inspect
from deqlab.tasks.store import cache_dir

__all__ = [
    "NAMES",
    "SOURCES",
    "DataError",
    "FileState",
    "FileStatus",
    "ImageData",
    "cache_dir",
    "fetch",
    "inspect",
    "load",
    "sawtooth",
]
