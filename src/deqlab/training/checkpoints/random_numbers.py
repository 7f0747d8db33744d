"""The states of all generators of random numbers, as one part of a checkpoint."""

import random
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch

from deqlab.training.checkpoints.tree import CheckpointError

Generator: TypeAlias = torch.Generator | np.random.Generator | random.Random
"""A generator of torch, numpy or Python."""


class RandomNumbers:
    """The global generators of torch, CUDA, numpy and Python, and others by name.

    Args:
        generators: Generators that belong to the run: of the order of data, of augmentation.

    Example:
        >>> order = torch.Generator().manual_seed(0)
        >>> numbers = RandomNumbers(order=order)
        >>> state, first = numbers.state_dict(), torch.rand(2, generator=order)
        >>> numbers.load_state_dict(state)
        >>> bool((torch.rand(2, generator=order) == first).all())
        True
    """

    def __init__(self, **generators: Generator) -> None:
        self.generators = generators

    def state_dict(self) -> dict[str, Any]:
        """Return the states as plain values and tensors."""
        on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if on_gpu else [],
            "numpy": np.random.get_state(),
            "python": random.getstate(),
            "generators": {name: _state(each) for name, each in self.generators.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all generators to these states.

        Raises:
            CheckpointError: The generators have other names.
        """
        if state["generators"].keys() != self.generators.keys():
            raise CheckpointError(
                f"the checkpoint has the generators {sorted(state['generators'])}, and this run "
                f"has {sorted(self.generators)}; give it those that it was saved with"
            )
        torch.set_rng_state(state["torch"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
        np.random.set_state(state["numpy"])
        random.setstate(state["python"])
        for name, each in self.generators.items():
            _set_state(each, state["generators"][name])


def _state(generator: Generator) -> Any:  # noqa: ANN401
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate()


def _set_state(generator: Generator, state: Any) -> None:  # noqa: ANN401
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.setstate(state)
