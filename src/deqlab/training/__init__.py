"""Training: the one loop that every network here is trained with."""

from deqlab.training.loop import Loop, Step

__all__ = ["Loop", "Step"]
