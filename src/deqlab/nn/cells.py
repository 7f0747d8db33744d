"""Cells: the maps f(z, x) whose fixed point a DEQ computes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.nn.constraints import Unconstrained
from deqlab.nn.leading import Leading, flattened
from deqlab.nn.sizes import check_scale, check_width, gaussian
from deqlab.solution import StateT


class Cell(nn.Module, ABC, Generic[StateT]):
    """A map f(z, *inputs) that knows where to start and what stays the same during a solve.

    Its type names that of its state: `Cell[Tensor]`, `Cell[tuple[Tensor, ...]]`.

    Attributes:
        row_args: For each of the args that `prepare` returns, whether it has a row per sample.
            None: the cell does not know, and its finished rows stay in the batch.
        sample_dims: Dimensions of one sample of the first input. Any number of others may stand in
            front of them, and in front of each sample of the state: `prepare` then sees one. None:
            the first dimension of the input is the batch.
    """

    row_args: tuple[bool, ...] | None = None
    sample_dims: int | None = None

    if TYPE_CHECKING:

        def __call__(
            self,
            z: StateT,
            *inputs: Any,  # noqa: ANN401
            **keywords: Any,  # noqa: ANN401
        ) -> StateT:
            """See `forward`."""

    @abstractmethod
    def initial(self, *inputs: Any, **keywords: Any) -> StateT:  # noqa: ANN401
        """Return the z0 of a solve at these inputs."""

    @abstractmethod
    def prepare(
        self,
        *inputs: Any,  # noqa: ANN401
        **keywords: Any,  # noqa: ANN401
    ) -> tuple[Callable[..., StateT], tuple[Tensor, ...]]:
        """Return (g, args) with g(z, *args) = f(z, *inputs) and all that is constant in z in args.

        It is called once a solve. g must reach no tensor that needs a gradient but through args.
        """

    def forward(
        self,
        z: StateT,
        *inputs: Any,  # noqa: ANN401
        **keywords: Any,  # noqa: ANN401
    ) -> StateT:
        """Return f(z, *inputs)."""
        if self.sample_dims is None:
            g, args = self.prepare(*inputs, **keywords)
            return g(z, *args)
        leading, inputs, keywords = flattened(self.sample_dims, inputs, keywords)
        g, args = self.prepare(*inputs, **keywords)
        return cast("StateT", leading.restore(g(leading.flatten_state(z), *args)))


class DenseCell(Cell[Tensor]):
    """f(z, x) = phi(W z + U x + b), with W = constraint(V).

    Shapes: x (..., num_inputs), z (..., width), as in `nn.Linear`. U and b start as in `nn.Linear`;
    V starts Gaussian with standard deviation `gain` / sqrt(width), whose spectral radius is about
    `gain`.

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
        check_width(num_inputs, width)
        check_scale("gain", gain)
        self.width = width
        self.activation = activation
        self.constraint = Unconstrained() if constraint is None else constraint
        self.inject = nn.Linear(num_inputs, width)
        self.free = gaussian(width, gain)

    row_args = (False, True)  # W, U x + b
    sample_dims = 1

    @property
    def weight(self) -> Float[Tensor, "m m"]:
        """W, the constrained matrix."""
        w: Tensor = self.constraint(self.free)
        return w

    @override
    def initial(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        return zeros(x, self.width)

    @override
    def prepare(
        self, x: Float[Tensor, "B n"]
    ) -> tuple[Callable[..., Tensor], tuple[Tensor, Tensor]]:
        return self._map, (self.weight.mT, injected(self, self.inject, x))

    def _map(
        self, z: Float[Tensor, "B m"], w_transposed: Float[Tensor, "m m"], q: Float[Tensor, "B m"]
    ) -> Float[Tensor, "B m"]:
        return self.activation(torch.addmm(q, z, w_transposed))


def zeros(x: Tensor, width: int) -> Tensor:
    """Return a vector of zeros for each vector of x."""
    shape = Leading.of(x, 1).shape
    return x.new_zeros(*shape, width)


def injected(cell: nn.Module, inject: nn.Module, x: Tensor) -> Tensor:
    """Return U x + b.

    Raises:
        ValueError: x is not as wide as the cell was told.
    """
    expected = getattr(inject, "in_features", None)
    if expected is not None and x.shape[-1] != expected:
        raise ValueError(
            f"{type(cell).__name__} takes x of shape (..., {expected}), got {tuple(x.shape)}"
        )
    q: Tensor = inject(x)
    return q
