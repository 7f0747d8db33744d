"""Riccati iterates 2, 4, 8, ... steps at a time, by the structure-preserving doubling algorithm.

With G = B R^-1 B', P_0 = 0 and the Riccati map F (see `riccati`), set A_0 = A, G_0 = G, H_0 = Q and

    W = I + G H,    A+ = A W^-1 A,    G+ = G + A W^-1 G A',    H+ = H + A' H W^-1 A.

Then H_k = F^(2^k)(0): k doublings are 2^k steps of the plain iteration, and converge quadratically
where that converges linearly. Source: Chu, Fan, Lin & Wang (2004), "Structure-preserving algorithms
for periodic discrete-time algebraic Riccati equations", Int. J. Control 77.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.control.systems import symmetric

MOST = 40
"""Doublings at most: a closed loop whose radius is within 1e-11 of 1 is not told from 1."""


def doubled(
    a: Float[Tensor, "B n n"],
    g: Float[Tensor, "B n n"],
    q: Float[Tensor, "B n n"],
    *,
    doublings: int = MOST,
) -> Float[Tensor, "B n n"]:
    """Return F^(2^k)(0) of each system, for the k after which it stands still.

    A system whose iterates leave the numbers of its dtype keeps the last that did not.

    Args:
        a: A.
        g: B R^-1 B'.
        q: Q, symmetric.
        doublings: k at most.
    """
    eps, eye = torch.finfo(a.dtype).eps, torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    h, running = q, torch.ones(len(a), dtype=torch.bool, device=a.device)
    for _ in range(doublings):
        solved = torch.linalg.solve_ex(eye + g @ h, torch.cat([a, g], dim=-1))[0]
        wa, wg = solved.split(a.shape[-1], dim=-1)  # W^-1 A and W^-1 G
        change = symmetric(a.mT @ h @ wa)
        a, g = a @ wa, g + symmetric(a @ wg @ a.mT)
        running = running & (h + change).isfinite().flatten(1).all(dim=1)
        h = torch.where(running[:, None, None], h + change, h)
        moved = change.flatten(1).abs().amax(dim=1) > eps * h.flatten(1).abs().amax(dim=1)
        running = running & moved
        if not bool(running.any()):
            break
    return h
