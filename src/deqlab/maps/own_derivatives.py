"""Derivatives that f takes itself, as an energy model does, and what they leave out.

`torch.autograd.grad(energy, z)` without `create_graph=True` returns a constant: what the energy
depends on is then missing in the gradient of the fixed point, or in part of it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from deqlab.linalg.products import tape_nodes


class OwnDerivatives(TorchFunctionMode):
    """Notices calls of `torch.autograd.grad` whose result is a constant.

    Attributes:
        leaves: Tensors that need a gradient and that the results depend on, beside those that the
            derivatives were taken by.
    """

    def __init__(self) -> None:
        super().__init__()
        self.leaves: dict[int, Tensor] = {}

    @override
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.autograd.grad:
            call = dict(zip(("outputs", "inputs", "", "", "create_graph"), args, strict=False))
            call |= kwargs
            if not call.get("create_graph"):
                by = {id(tensor) for tensor in tree_leaves(call.get("inputs"))}
                leaves = _leaves(call.get("outputs"))
                self.leaves |= {key: leaf for key, leaf in leaves.items() if key not in by}
        return func(*args, **kwargs)

    def are_lost_in(self, image: object) -> bool:
        """Return whether one of these tensors is missing on the tapes of what f returned."""
        return not self.leaves.keys() <= _leaves(image).keys()


def _leaves(outs: object) -> dict[int, Tensor]:
    """Return the leaves that need a gradient on the tapes of some tensors, by identity."""
    tensors = (tensor for tensor in tree_leaves(outs) if isinstance(tensor, Tensor))
    variables = (getattr(node, "variable", None) for node in tape_nodes(*tensors))
    return {id(leaf): leaf for leaf in variables if isinstance(leaf, Tensor)}
