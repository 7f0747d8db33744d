"""Networks that answer at every position of a string or a picture, of any size.

One is a `RecallCell` at its equilibrium, or looped; the explicit one beside it has the same blocks
in a row, each with weights of its own, and sees its input once. Both read the classes of a position
off its channels.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.cells.recall import RecallBlock, RecallCell, convolution, unit
from deqlab.nn.deq import DEQ
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver


class Positions(nn.Module):
    """Scores of the classes of every position.

    Shapes: x (B, inputs, *positions) to (B, *positions, num_classes).

    Args:
        body: Maps x to (B, channels, *positions).
        channels: See there.
        num_classes: Classes of a position.
    """

    def __init__(self, body: nn.Module, channels: int, num_classes: int) -> None:
        super().__init__()
        check_count("num_classes", num_classes)
        self.body = body
        self.readout = nn.Linear(channels, num_classes)

    @override
    def forward(self, x: Float[Tensor, "B n *positions"]) -> Float[Tensor, "B *positions k"]:
        scores: Tensor = self.readout(self.body(x).movedim(1, -1))
        return scores


class RecallLayers(nn.Module):
    """The blocks of a `RecallCell` in a row, behind U x.

    Shapes: x (B, inputs, *positions) to (B, channels, *positions).

    Args:
        inputs: Channels of x.
        channels: Channels behind it.
        blocks: How many blocks, at least 1.
        dims: How many dimensions positions have: 1 or 2.
    """

    def __init__(self, inputs: int, channels: int, *, blocks: int, dims: int = 1) -> None:
        super().__init__()
        check_count("blocks", blocks)
        self.injection = convolution(inputs, channels, dims)
        self.blocks = nn.ModuleList(RecallBlock(channels, dims) for _ in range(blocks))

    @override
    def forward(self, x: Float[Tensor, "B n *positions"]) -> Float[Tensor, "B c *positions"]:
        h: Tensor = self.injection(x)
        for block in self.blocks:
            h = block(h)
        return unit(h)


def recall_net(
    inputs: int,
    channels: int,
    num_classes: int,
    *,
    dims: int = 1,
    blocks: int = 2,
    solver: Solver[Any] = Anderson(rtol=1e-2, max_steps=40),
    gradient: Gradient = Implicit(),
    on_failure: OnFailure = "warn",
) -> Positions:
    """Return a network whose blocks are looped, or at their equilibrium.

    Args:
        inputs: Channels of x.
        channels: Of the state.
        num_classes: Classes of a position.
        dims: How many dimensions positions have: 1 or 2.
        blocks: Blocks inside of f.
        solver: The solver of the DEQ.
        gradient: Likewise.
        on_failure: Likewise.

    Example:
        >>> import torch
        >>> from deqlab.gradients import Loops
        >>> recall_net(1, 8, 2, gradient=Loops(steps=20))(torch.randn(3, 1, 12)).shape
        torch.Size([3, 12, 2])
    """
    cell = RecallCell(inputs, channels, dims=dims, blocks=blocks)
    deq = DEQ(cell, solver=solver, gradient=gradient, on_failure=on_failure)
    return Positions(deq, channels, num_classes)


def explicit_recall_net(
    inputs: int, channels: int, num_classes: int, *, dims: int = 1, blocks: int
) -> Positions:
    """Return the explicit network of so many blocks; see `recall_net` for the arguments."""
    body = RecallLayers(inputs, channels, blocks=blocks, dims=dims)
    return Positions(body, channels, num_classes)
