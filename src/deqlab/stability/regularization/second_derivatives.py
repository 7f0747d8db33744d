"""Products with J' that have a derivative themselves, and the sentence where f has none.

torch computes fused attention, what AOTAutograd compiled, and functions marked
`once_differentiable` without a second derivative, and says so only in the backward pass of the
whole loss, or not at all. Their names on the tape of the product tell it at once.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from deqlab.linalg.products import plain, pull, tape_nodes
from deqlab.maps.flat_map import FlatMap

ENDS = {
    "torch::autograd::NotImplemented",
    "torch::autograd::Error",
    "CompiledFunctionBackwardBackward",
}
"""Nodes that stand where a derivative is missing."""


class Linearized:
    """f at z, and products v -> J'v which a tape records.

    Args:
        f: The map.
        z: Where it is linearised.
        args: What it takes beside.
        what: The name of what needs this, for the message.
    """

    def __init__(
        self, f: FlatMap, z: Float[Tensor, "B D"], args: tuple[object, ...], what: str
    ) -> None:
        self.what, self.records, self.is_checked = what, torch.is_grad_enabled(), False
        self.leaf = plain(z).detach().requires_grad_()
        with torch.enable_grad():
            self.out = f(self.leaf, *args)

    def product(self, v: Float[Tensor, "B D"], *, record: bool = True) -> Float[Tensor, "B D"]:
        """Return J'v.

        Args:
            v: One vector a sample.
            record: Whether it is to be differentiated, where a tape is on.

        Raises:
            NotImplementedError: It is, and an operation of f has no second derivative.
        """
        record = record and self.records
        with torch.enable_grad():
            pulled = pull(self.out, self.leaf, v, create_graph=record)
        if pulled is None:
            return torch.zeros_like(v)
        if record and not self.is_checked:
            self._check(pulled)
        return pulled if self.records else pulled.detach()

    def _check(self, pulled: Tensor) -> None:
        """Raise unless a recorded product has a derivative."""
        tapes = [pulled]
        if any(isinstance(node, BackwardCFunction) for node in tape_nodes(self.out)):
            # A function marked once_differentiable says so only where its cotangent is followed.
            u = torch.zeros_like(self.out, requires_grad=True)
            with torch.enable_grad():
                followed = pull(self.out, self.leaf, u, create_graph=True)
            tapes += [] if followed is None else [followed]
        if any(node.name() in ENDS for node in tape_nodes(*tapes)):
            raise NotImplementedError(
                f"{self.what} differentiates f twice, and an operation of f has no second "
                "derivative (fused attention, a compiled f, a function marked "
                "once_differentiable): use FiniteDifferences or DenoisingEnergy, which need none"
            )
        self.is_checked = True
