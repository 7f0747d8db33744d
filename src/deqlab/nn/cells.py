"""Cells: the maps f(z, x) whose fixed point a DEQ computes."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.nn.constraints import Unconstrained
from deqlab.state import State


class Cell(nn.Module, ABC):
    """A map f(z, x) that knows where to start and what stays the same during a solve.

    Attributes:
        row_args: For each of the args that `prepare` returns, whether it has a row per sample.
            None: the cell does not know, and its finished rows stay in the batch.
    """

    row_args: tuple[bool, ...] | None = None

    @abstractmethod
    def initial(self, x: Tensor) -> State:
        """Return the z0 of a solve at x."""

    @abstractmethod
    def prepare(self, x: Tensor) -> tuple[Callable[..., State], tuple[Tensor, ...]]:
        """Return (g, args) with g(z, *args) = f(z, x) and all that is constant in z in args.

        It is called once a solve. g must reach no tensor that needs a gradient but through args.
        """

    def forward(self, z: State, x: Tensor) -> State:
        """Return f(z, x)."""
        g, args = self.prepare(x)
        return g(z, *args)


class DenseCell(Cell):
    """f(z, x) = phi(W z + U x + b), with W = constraint(V).

    Shapes: x (B, num_inputs), z (B, width). U and b start as in `nn.Linear`; V starts Gaussian
    with standard deviation `gain` / sqrt(width), whose spectral radius is about `gain`.

    Args:
        num_inputs: Size of x.
        width: Size of z.
        activation: phi, elementwise. Contraction and well-posedness need it 1-Lipschitz.
        constraint: Module that maps the free V to W; see `nn.constraints`.
        gain: Initial scale of V, 0 or more.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        *,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        constraint: nn.Module | None = None,
        gain: float = 0.5,
    ) -> None:
        super().__init__()
        for name, size in (("num_inputs", num_inputs), ("width", width)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if not gain >= 0:
            raise ValueError(f"gain must be 0 or more, got {gain}")
        self.width = width
        self.activation = activation
        self.constraint = Unconstrained() if constraint is None else constraint
        self.inject = nn.Linear(num_inputs, width)
        self.free = nn.Parameter(torch.randn(width, width) * gain / width**0.5)

    row_args = (False, True)  # W, U x + b

    @property
    def weight(self) -> Float[Tensor, "m m"]:
        """W, the constrained matrix."""
        w: Tensor = self.constraint(self.free)
        return w

    @override
    def initial(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B m"]:
        return x.new_zeros(x.shape[0], self.width)

    @override
    def prepare(
        self, x: Float[Tensor, "B n"]
    ) -> tuple[Callable[..., Tensor], tuple[Tensor, Tensor]]:
        return self._map, (self.weight.mT, self.inject(x))

    def _map(
        self, z: Float[Tensor, "B m"], w_transposed: Float[Tensor, "m m"], q: Float[Tensor, "B m"]
    ) -> Float[Tensor, "B m"]:
        return self.activation(torch.addmm(q, z, w_transposed))
