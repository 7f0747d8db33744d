"""Runs of the fake experiment."""

from tests.experiments.conftest import description, start

__all__ = ["description", "start"]
