"""Warm starts: the solve of a sample begins where its last one ended.

From one epoch to the next the weights move a little, and so do equilibria. What is kept belongs to
whoever trains: a layer remembers no sample. A start is asked for, passed as `z0`, and the end is
given back. Source: Bai, Geng, Savani & Kolter (2022), "Deep Equilibrium Optical Flow Estimation",
on frames of a video; Huang, Bai & Kolter (2021), "(Implicit)^2", on the pixels of a picture.
"""

from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from deqlab.arguments import check_count
from deqlab.solution import StateT


class WarmStarts:
    """The state in which the solve of each sample ended last, by the number of the sample.

    They are as large as the states of all samples together, and stand where the first ones stood.
    The v of adjoints is kept likewise, for `Implicit(warm_start=...)`, in a table of its own.

    Args:
        num_samples: How many samples there are.

    Example:
        >>> import torch
        >>> from deqlab import DEQ
        >>> from deqlab.nn import SineCell
        >>> x, deq, starts = torch.rand(10, 2), DEQ(SineCell(2, 16)), WarmStarts(10)
        >>> rows = torch.tensor([7, 2, 5])
        >>> for _ in range(2):
        ...     z = deq(x[rows], z0=starts.of(rows, deq.cell.initial(x[rows])))
        ...     starts.keep(rows, z)
        >>> deq.last.evaluations
        1
    """

    def __init__(self, num_samples: int) -> None:
        check_count("num_samples", num_samples)
        self._known = torch.zeros(num_samples, dtype=torch.bool)
        self._states: Any = None

    def of(self, rows: Int64[Tensor, " B"], own: StateT) -> StateT:
        """Return where to start at these samples.

        Args:
            rows: Their numbers.
            own: Where to start at those that have not been solved, (B, ...), as `Cell.initial`
                returns it.
        """
        if self._states is None:
            return own
        known = self._known[rows.cpu()]

        def chosen(start: Tensor, states: Tensor) -> Tensor:
            there = known.to(start.device).view(-1, *[1] * (start.ndim - 1))
            return torch.where(there, states[rows.to(states.device)], start)

        started: StateT = tree_map(chosen, own, self._states)
        return started

    def keep(self, rows: Int64[Tensor, " B"], states: Any) -> None:  # noqa: ANN401
        """Keep the states in which solves ended, but for those that are not finite.

        Args:
            rows: The numbers of the samples.
            states: Their states, (B, ...), as the layer returned them; the graph is not kept.
        """
        states = tree_map(torch.detach, states)
        if self._states is None:
            shape = len(self._known)
            self._states = tree_map(lambda new: new.new_zeros(shape, *new.shape[1:]), states)
        finite = torch.stack(
            [new.isfinite().reshape(len(new), -1).all(dim=1).cpu() for new in tree_leaves(states)]
        ).all(dim=0)
        self._known[rows.cpu()] = finite
        for kept, new in zip(tree_leaves(self._states), tree_leaves(states), strict=True):
            kept[rows.to(kept.device)] = new

    def state_dict(self) -> dict[str, Any]:
        """Return all that is kept."""
        return {"known": self._known, "states": self._states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._known, self._states = state["known"], state["states"]
