"""Checkpoints of training runs: written whole, read without running anything, refused in a word."""

from deqlab.training.checkpoints.checkpoint import Checkpoint
from deqlab.training.checkpoints.errors import CheckpointError
from deqlab.training.checkpoints.random_numbers import RandomNumbers

__all__ = ["Checkpoint", "CheckpointError", "RandomNumbers"]
