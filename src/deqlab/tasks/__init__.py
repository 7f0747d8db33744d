"""Data to learn: sawtooths, steep steps, waves, boolean functions, and four image sets."""

from deqlab.tasks import boolean, frequencies, gotu, sawtooth, steep
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.images import ImageData, load
from deqlab.tasks.files.sources import NAMES, SOURCES
from deqlab.tasks.files.status import FileState, FileStatus, fetch, inspect
from deqlab.tasks.files.store import cache_dir

__all__ = [
    "NAMES",
    "SOURCES",
    "DataError",
    "FileState",
    "FileStatus",
    "ImageData",
    "boolean",
    "cache_dir",
    "fetch",
    "frequencies",
    "gotu",
    "inspect",
    "load",
    "sawtooth",
    "steep",
]
