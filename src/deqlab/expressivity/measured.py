"""What a network of one variable is: its pieces, and its error, norm and solve on given points."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.expressivity.bounds import largest_infinity_norm
from deqlab.expressivity.constructions import ReadoutDEQ
from deqlab.expressivity.equilibrium import equilibrium_pieces
from deqlab.expressivity.layered import layered_pieces
from deqlab.expressivity.pieces import Pieces


def pieces_of(network: nn.Module, low: float, high: float) -> Pieces:
    """Return the pieces of a ReLU network on an interval.

    Args:
        network: A `ReadoutDEQ`, or an FNN as `nn.Sequential`.
        low: The start of the interval.
        high: Its end.
    """
    if isinstance(network, ReadoutDEQ):
        return equilibrium_pieces(network, low, high)
    assert isinstance(network, nn.Sequential)
    return layered_pieces(network, low, high)


@torch.no_grad()
def measured(
    network: nn.Module, x: Float[Tensor, "n 1"], y: Float[Tensor, "n 1"]
) -> dict[str, Any]:
    """Return the largest error and norm of a network, and how the solve went where there is one."""
    norm = largest_infinity_norm(network)
    if not isinstance(network, ReadoutDEQ):
        return {"infinity_norm": norm, "error": (network(x) - y).abs().max().item()}
    solution = network.layer.solve(x)
    return {
        "infinity_norm": norm,
        "error": (network.output(x, solution) - y).abs().max().item(),
        "residual": solution.residual.max().item(),
        "converged": solution.converged.double().mean().item(),
        "evaluations": solution.evaluations,
    }
