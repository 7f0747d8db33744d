"""Products with the Jacobian of a map, matrix-free, and the Jacobian itself where it is small.

J = df/dz at one point. The rows of a batch are independent problems, so that J is block diagonal
and every function here works on all of its blocks at once.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import Node, saved_tensors_hooks

Product: TypeAlias = Callable[[Tensor], Tensor]
"""v -> J'v, or another linear map on (B, D) matrices, row by row."""


def linearize(
    f: Callable[[Tensor], Tensor], z: Float[Tensor, "B D"]
) -> tuple[Tensor, Tensor, Product]:
    """Return z as a leaf of the tape, f(z), and the product v -> J'v at z.

    f is evaluated once, with the tape on; each product walks the tape once, and leaves it.
    """
    leaf = z.detach().requires_grad_()
    with torch.enable_grad():
        out = f(leaf)
    return leaf, out, vjp(out, leaf)


def vjp(out: Tensor, z: Tensor, *, create_graph: bool = False) -> Product:
    """Return v -> J'v from a tape that leads from `z` to `out`."""

    def product(v: Tensor) -> Tensor:
        if not out.requires_grad:
            return torch.zeros_like(v)
        (result,) = torch.autograd.grad(
            out, z, v, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
        return torch.zeros_like(v) if result is None else result

    return product


AT_ONCE = 2**22
"""Numbers in the cotangents of one walk over the tape for a dense Jacobian: 16 MB in float32."""


def jacobian(
    f: Callable[[Tensor], Tensor], z: Float[Tensor, "B D"]
) -> tuple[Tensor, Float[Tensor, "B D D"]]:
    """Return f(z), and J of every row at z: D walks over one tape, many at a time.

    Works under no_grad and inference_mode.
    """
    batch, dim = z.shape
    with torch.inference_mode(mode=False), unpacked():
        leaf, out = taped(f, z)
        rows = torch.zeros(dim, batch, dim, dtype=z.dtype, device=z.device)
        units = torch.eye(dim, dtype=out.dtype, device=out.device)[:, None].expand(-1, batch, -1)
        many = max(1, AT_ONCE // max(1, batch * dim))
        for first in range(0, dim, many):
            part = slice(first, first + many)
            pulled = _pull(out, leaf, units[part])
            if pulled is None:
                break
            rows[part] = pulled
    return out.detach(), rows.transpose(0, 1)


def _pull(out: Tensor, leaf: Tensor, cotangents: Float[Tensor, "K B D"]) -> Tensor | None:
    """Return J'u for many u; None if `out` does not depend on `leaf`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of slow rules for batches: they are fast enough
            return pull(out, leaf, cotangents, is_grads_batched=True)
    except RuntimeError:  # an operation without such a rule
        rows = [pull(out, leaf, u) for u in cotangents]
        return torch.stack([row for row in rows if row is not None])


def pull(out: Tensor, leaf: Tensor, u: Tensor, **options: bool) -> Tensor | None:
    """Return J'u; None if `out` does not depend on `leaf`. The tape stays."""
    if not out.requires_grad:
        return None
    return torch.autograd.grad(out, leaf, u, retain_graph=True, allow_unused=True, **options)[0]


def taped(f: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Return z as a leaf of the tape, and f(z)."""
    leaf = plain(z).detach().requires_grad_()
    with torch.enable_grad():
        return leaf, f(leaf)


def tape_nodes(*outs: Tensor | None) -> Iterator[Node]:
    """Yield every node on the tapes of some tensors, once."""
    seen, stack = set(), [None if out is None else out.grad_fn for out in outs]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            stack.extend(parent for parent, _ in node.next_functions)


def has_holes(*outs: Tensor | None) -> bool:
    """Return whether torch has put errors on the tapes of some tensors, in place of derivatives.

    It does so where a function is marked `once_differentiable`, and the tape ends there:
    `torch.autograd.grad` never meets the error, and leaves out what lies behind it.
    """
    return any(node.name() == "torch::autograd::Error" for node in tape_nodes(*outs))


def unpacked() -> AbstractContextManager[object]:
    """Keep a tape of our own from the hooks of checkpointing and offloading.

    They would fetch or recompute what it holds at every product.
    """
    if not tapes_are_packed():
        return nullcontext()
    # Detached: a tensor that holds its own node would never be freed.
    return saved_tensors_hooks(lambda saved: saved.detach(), lambda saved: saved)


def tapes_are_packed() -> bool:
    """Return whether hooks pack what tapes save (activation checkpointing, offloading)."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False) is not None


def plain(matrix: Tensor) -> Tensor:
    """Return a tensor that a tape can hold: a copy, if it was made in inference mode."""
    return matrix.clone() if matrix.is_inference() else matrix
