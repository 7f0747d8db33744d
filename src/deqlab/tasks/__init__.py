"""Data to learn: sawtooths, steep steps, waves, boolean functions, and data sets in files."""

from deqlab.tasks import boolean, frequencies, gotu, sawtooth, steep
from deqlab.tasks.files.classification import ClassificationData
from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.images import ImageData
from deqlab.tasks.files.loading import load
from deqlab.tasks.files.registry import DATASETS, NAMES, SOURCES, names_of
from deqlab.tasks.files.status import FileState, FileStatus, fetch, inspect
from deqlab.tasks.files.store import cache_dir
from deqlab.tasks.files.tables import read_samples
from deqlab.tasks.files.text import TextData

__all__ = [
    "DATASETS",
    "NAMES",
    "SOURCES",
    "ClassificationData",
    "DataError",
    "Dataset",
    "FileState",
    "FileStatus",
    "ImageData",
    "TextData",
    "boolean",
    "cache_dir",
    "fetch",
    "frequencies",
    "gotu",
    "inspect",
    "load",
    "names_of",
    "read_samples",
    "sawtooth",
    "steep",
]
