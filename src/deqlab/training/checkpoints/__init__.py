"""Checkpoints of training runs: written whole, read without running anything, refused in a word."""

from deqlab.training.checkpoints.checkpoint import Checkpoint
from deqlab.training.checkpoints.random_numbers import RandomNumbers
from deqlab.training.checkpoints.tree import CheckpointError

__all__ = ["Checkpoint", "CheckpointError", "RandomNumbers"]
