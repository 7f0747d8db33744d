"""Where the solves of a layer start, if not where its cell does: `DEQ(cell, start=...)`.

A start is any callable that is given the state in which the cell would start and the inputs of the
layer, and returns a state of the same form. As a module it moves, trains and is saved with the
layer. An equilibrium that is the only one does not depend on where its solve starts; a network
whose answers do not depend on it either is path independent (Anil et al. 2022, "Path Independent
Equilibrium Models Can Better Exploit Test-Time Computation").
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from typing_extensions import override

from deqlab.arguments import check_count, check_positive
from deqlab.solution import Solution


class Zeros(nn.Module):
    """Starts at zero."""

    @override
    def forward(self, own: Any, *inputs: Any, **keywords: Any) -> Any:
        return tree_map(torch.zeros_like, own)


class Noise(nn.Module):
    """Starts at random: each number from a normal distribution, cut off at two deviations.

    The numbers come from torch's generator, in eval mode too.

    Args:
        std: The deviation before it is cut off, more than 0.
    """

    def __init__(self, std: float = 1.0) -> None:
        super().__init__()
        check_positive("std", std)
        self.std = std

    @override
    def forward(self, own: Any, *inputs: Any, **keywords: Any) -> Any:
        return tree_map(self._drawn, own)

    def _drawn(self, like: Tensor) -> Tensor:
        drawn = torch.empty_like(like, requires_grad=False)
        return nn.init.trunc_normal_(drawn, std=self.std, a=-2 * self.std, b=2 * self.std)

    @override
    def extra_repr(self) -> str:
        return f"std={self.std:g}"


class Learned(nn.Module):
    """Starts where an explicit network says: near the equilibrium, once it has learned that.

    A fixed point does not depend on the start, so that no loss on z* trains the network: add
    `distance()` to the loss. Where loops are differentiated to their first step (`Loops`) it is
    trained by any loss. Source: Bai, Koltun & Kolter (2021), "Neural Deep Equilibrium Solvers".

    Args:
        network: Called with the inputs of the layer; returns the state, in the form that the cell
            starts in.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._ends: tuple[Any, Any] | None = None

    @override
    def forward(self, own: Any, *inputs: Any, **keywords: Any) -> Any:
        return self.network(*inputs, **keywords)

    def distance(self) -> Float[Tensor, ""]:
        """Return |z0 - z*|^2 / |z*|^2 of the last solve in train mode, trained through z0 alone.

        Raises:
            RuntimeError: There was none since the last call.
        """
        if self._ends is None:
            raise RuntimeError(
                "Learned.distance: no solve in train mode since the last call: call the model, in "
                "train mode, and then this, once"
            )
        (starts, ends), self._ends = self._ends, None
        pairs = list(zip(tree_leaves(starts), tree_leaves(ends), strict=True))
        far = sum(((start - end) ** 2).sum() for start, end in pairs)
        return cast("Tensor", far / sum((end**2).sum() for _, end in pairs))

    def note(self, start: Any, end: Any) -> None:  # noqa: ANN401
        """Keep where a solve started and ended."""
        self._ends = start, tree_map(torch.detach, end)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ends": None}


class BestOf(nn.Module):
    """Starts several times, and keeps for each sample the start whose solve ends best.

    Best is the least residual, in units of its tolerance. An equilibrium that was found is then
    taken as it is, at one evaluation more; loops (`gradients.Loops`) are taken again from the start
    that was best. EqR (2026) chooses so among 128 starts.

    Args:
        count: How many starts, at least 1.
        start: What draws them.
    """

    def __init__(self, count: int, start: nn.Module | None = None) -> None:
        super().__init__()
        check_count("count", count)
        self.count, self.start = count, Noise() if start is None else start

    @override
    def forward(self, own: Any, *inputs: Any, **keywords: Any) -> Any:
        return self.start(own, *inputs, **keywords)

    def chosen(
        self,
        draw: Callable[[], Any],
        solve: Callable[[Any], Solution[Any]],
        *,
        ends: bool,
    ) -> tuple[Any, int]:
        """Return the best start of each sample, and what finding it took in evaluations.

        Args:
            draw: Returns a start.
            solve: Returns the solution from there.
            ends: Whether to return where its solve ended instead.
        """
        best: Any = None
        least = torch.empty(0)
        evaluations = 0
        with torch.no_grad():
            for _ in range(self.count):
                start = draw()
                found = solve(start)
                evaluations += found.evaluations
                taken = found.value if ends else start
                excess = found.residual / found.tolerance.clamp_min(torch.finfo(torch.float64).tiny)
                excess = excess.nan_to_num(nan=torch.inf)
                if best is None:
                    best, least = taken, excess
                    continue
                better = excess < least
                least = torch.where(better, excess, least)
                best = tree_map(partial(_rows, better), taken, best)
        return best, evaluations

    @override
    def extra_repr(self) -> str:
        return f"count={self.count}"


def _rows(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return the rows of `new` where the mask says so; rows are counted over leading dimensions."""
    count = len(mask)
    chosen = torch.where(mask[:, None], new.reshape(count, -1), old.reshape(count, -1))
    return chosen.reshape(new.shape)
