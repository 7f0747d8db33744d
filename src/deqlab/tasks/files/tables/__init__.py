"""Samples and labels in files of the user's, read as they are or refused in a sentence."""

from deqlab.tasks.files.tables.file import TableFile
from deqlab.tasks.files.tables.samples import SUFFIXES, Samples, read_samples

__all__ = ["SUFFIXES", "Samples", "TableFile", "read_samples"]
