"""Another place of `deqlab.tasks.read_samples`, for programs that import it from here."""

from deqlab.tasks.files.tables import SUFFIXES, Samples, read_samples

__all__ = ["SUFFIXES", "Samples", "read_samples"]
