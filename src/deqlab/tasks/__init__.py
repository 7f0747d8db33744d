"""Data to learn: functions, boolean tasks, tasks of reasoning, and data sets in files."""

from deqlab.tasks import (
    boolean,
    chains,
    communities,
    darcy,
    frequencies,
    gotu,
    mazes,
    pendulum,
    pictures,
    prefix_sums,
    sawtooth,
    spring_box,
    steep,
    sudoku,
)
from deqlab.tasks.exactness import Exactness, exact_score
from deqlab.tasks.files.classification import ClassificationData
from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.images import ImageData
from deqlab.tasks.files.loading import load
from deqlab.tasks.files.registry import DATASETS, NAMES, SOURCES, names_of
from deqlab.tasks.files.sets.planetoid import GraphData
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
    "Exactness",
    "FileState",
    "FileStatus",
    "GraphData",
    "ImageData",
    "TextData",
    "boolean",
    "cache_dir",
    "chains",
    "communities",
    "darcy",
    "exact_score",
    "fetch",
    "frequencies",
    "gotu",
    "inspect",
    "load",
    "mazes",
    "names_of",
    "pendulum",
    "pictures",
    "prefix_sums",
    "read_samples",
    "sawtooth",
    "spring_box",
    "steep",
    "sudoku",
]
