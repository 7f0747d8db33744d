"""What a solve measured, under the names of torchdeq."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.solution import Solution


class SolverStat(dict[str, Tensor]):
    """The statistics of a solve.

    Keys:
        abs_lowest: |f(z) - z| at the state that is returned, (B,).
        rel_lowest: The same over |f(z)|, (B,).
        abs_trace: |f(z) - z| at every iterate, (B, T); without the 1e8 that torchdeq begins with,
            and without the columns up to `f_max_iter` that it ends with.
        rel_trace: The same over |f(z)|, (B, T).
        nstep: Iterations until the verdict on the sample fell, (B,).
        sradius: The spectral radius, (B,), in eval mode with `sradius_mode`; else one number, 0
            in eval mode and -1 in train mode.

    Attributes:
        solution: The verdicts of deqlab on every sample; its `adjoint` has those of the backward
            passes, once they are done.
    """

    solution: Solution[None]

    @classmethod
    def of(cls, solution: Solution[Any], sizes: list[Float[Tensor, " B"]]) -> "SolverStat":
        """Return the statistics of a solution.

        Args:
            solution: The solution.
            sizes: |f(z)| of each sample, of the evaluations of f in their order.
        """
        absolute = solution.trace.detach()
        relative = absolute / (torch.stack(sizes[: len(absolute)]).to(absolute) + 1e-9)
        best = absolute.nan_to_num(nan=torch.inf).argmin(dim=0, keepdim=True)
        info = cls(
            abs_lowest=solution.residual.detach().to(absolute),
            rel_lowest=relative.gather(0, best)[0],
            abs_trace=absolute.T,
            rel_trace=relative.T,
            nstep=solution.steps.to(absolute),
            sradius=absolute.new_tensor([-1.0]),
        )
        info.solution = solution.verdicts()
        return info


@dataclass
class MeasuredMap:
    """The map of a call as deqlab calls it, f(z), which notes |f(z)| of each evaluation.

    Attributes:
        func: The map as torchdeq calls it.
        spread: Whether it takes the tensors of a state one by one.
        whole: Whether the state is one sample, as `DEQ` takes it.
        sizes: |f(z)| of each evaluation since they were cleared.
    """

    func: Callable[..., Any]
    spread: bool
    whole: bool
    sizes: list[Float[Tensor, " B"]] = field(default_factory=list)

    @classmethod
    def of(cls, func: Callable[..., Any], z0: Any, *, batched: bool) -> tuple["MeasuredMap", Any]:  # noqa: ANN401
        """Return the map and the start.

        Raises:
            TypeError: The start is neither a tensor nor a list or tuple of tensors.
        """
        if isinstance(z0, Tensor):
            return cls(func, spread=False, whole=not batched or z0.ndim == 1), z0
        if type(z0) not in (list, tuple) or not all(isinstance(each, Tensor) for each in z0):
            raise TypeError(
                "z_init must be a tensor, or a list or tuple of tensors, got "
                f"{type(z0).__name__}: other states are for deqlab.fixed_point"
            )
        return cls(func, spread=True, whole=not batched), tuple(z0)

    def __call__(self, z: Any) -> Any:  # noqa: ANN401
        """Return f(z) in the structure of z."""
        fz = tuple(self.func(*z)) if self.spread else self.func(z)
        parts = fz if self.spread else (fz,)
        if all(isinstance(part, Tensor) for part in parts):  # what is none is refused by the solve
            norms = torch.stack([self._norms(part.detach()) for part in parts])
            self.sizes.append(torch.linalg.vector_norm(norms, dim=0))
        return fz

    def _norms(self, part: Tensor) -> Float[Tensor, " B"]:
        if self.whole:
            part = part.flatten()[None]
        norms: Tensor = torch.linalg.vector_norm(
            part.flatten(1) if part.ndim > 1 else part[:, None], dim=1
        )
        return norms
