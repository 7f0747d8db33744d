"""What is recorded of every iterate of a solve: residuals, and the states that were asked for."""

from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.linalg.arrays import Array, as_tensor, empty, same_kind
from deqlab.solvers.loop.criterion import Look

Entry: TypeAlias = tuple[np.ndarray | None, Array, Array]
"""Which rows of the whole batch were in the loop, None for all; their residuals; and their
measures, which are residuals in units of each block's scale."""


class Record:
    """The iterates of one solve.

    Args:
        steps: Iterations, counted from 1, whose states are kept.
    """

    def __init__(self, steps: tuple[int, ...]) -> None:
        self.steps = steps
        self.entries: list[Entry] = []
        self.states: dict[int, Tensor] = {}

    def note(self, look: Look, rows: np.ndarray | None) -> None:
        """Enter the residuals of the last iterate, of the rows in the loop."""
        self.entries.append((rows, look.residual, look.measure))

    def keep(self, step: int, state: Tensor) -> None:
        """Keep a copy of the state, that nothing else writes to."""
        self.states[step] = state.clone()

    def recent_measures(self, count: int, rows: np.ndarray | None) -> list[Array]:
        """Return the measures of the last iterates, at most so many, of the rows in the loop now.

        Args:
            count: How many iterates.
            rows: The places of the rows in the whole batch; None for all rows.
        """
        found = []
        for then, _, measure in self.entries[-count:]:
            if rows is None or then is rows:
                found.append(measure)
            else:
                found.append(measure[rows if then is None else np.searchsorted(then, rows)])
        return found

    def trace(self, dtype: torch.dtype) -> Float[Tensor, "T B"]:
        """Return the residuals of the whole batch; in float32 at least, for a state of this dtype.

        A row that has left stands still.
        """
        exact = torch.promote_types(dtype, torch.float32)
        first = self.entries[0][1]
        trace = empty(len(self.entries), first)
        for step, (rows, residual, _) in enumerate(self.entries):
            if rows is None:
                trace[step] = residual
            else:
                trace[step] = trace[step - 1]
                trace[step, same_kind(rows, trace)] = residual
        return as_tensor(trace).to(exact)

    def kept_states(self, value: Tensor) -> tuple[Tensor, ...]:
        """Return the states that were asked for, each in its own memory.

        Args:
            value: The value of the solve, at which a solve that ended before stands still.
        """
        # A step may be asked for twice, or never have been taken.
        return tuple(
            self.states[step]
            if step in self.states and step not in self.steps[:i]
            else self.states.get(step, value).clone()
            for i, step in enumerate(self.steps)
        )
