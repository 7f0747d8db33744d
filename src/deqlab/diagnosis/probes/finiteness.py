"""For which inputs f is not finite, and whether the inputs already are not."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from deqlab.diagnosis.subject import Problem
from deqlab.solution import Solution, Status


@dataclass(frozen=True, kw_only=True)
class Finiteness:
    """Where something is not finite.

    Attributes:
        at_start: Samples for which f(z0) is not.
        on_the_way: Samples for which f was not later, in a solve, and after how many steps.
        in_inputs: Samples whose input itself is not.
        largest: The largest modulus of the input of each sample that is finite; empty if no input
            has a row for each sample.
    """

    at_start: tuple[int, ...]
    on_the_way: dict[int, int]
    in_inputs: tuple[int, ...]
    largest: tuple[float, ...]

    @property
    def samples(self) -> tuple[int, ...]:
        """All samples for which f was not finite."""
        return tuple(sorted({*self.at_start, *self.on_the_way}))


def finiteness(problem: Problem, inputs: tuple[object, ...], solution: Solution) -> Finiteness:
    """Look at f(z0), at what a solve met, and at the inputs.

    Args:
        problem: The problem.
        inputs: What the caller passed beside z.
        solution: A solve from the start.
    """
    batch = len(problem.z0)
    at_start = ~problem.at(problem.z0).isfinite().all(dim=1)
    later = (solution.status == Status.NONFINITE) & ~at_start.to(solution.status.device)
    rows = [
        part.detach().flatten(1)
        for part in tree_leaves(inputs)
        if isinstance(part, Tensor)
        and part.is_floating_point()
        and part.ndim
        and len(part) == batch
        if part.numel()
    ]
    bad = {i for part in rows for i in _places(~part.isfinite().all(dim=1))}
    sizes = [part.abs().nan_to_num(0, 0, 0).amax(dim=1) for part in rows]
    return Finiteness(
        at_start=_places(at_start),
        on_the_way={i: int(solution.steps[i]) for i in _places(later)},
        in_inputs=tuple(sorted(bad)),
        largest=tuple(torch.stack(sizes).amax(dim=0).tolist()) if sizes else (),
    )


def _places(mask: Tensor) -> tuple[int, ...]:
    return tuple(mask.nonzero().flatten().tolist())
