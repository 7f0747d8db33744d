"""Anderson acceleration (type II).

Write g = f(z) - z, and let dF and dG hold the last m differences of f(z) and of g. The step
solves a small least-squares problem per row and moves along its solution:

    c       = argmin |g_k - dG c|^2 + ridge |dG D^-1 c|^2          (D: column norms of dG)
    z_{k+1} = f(z_k) - dF c - (1 - beta) (g_k - dG c)

Source: Walker & Ni (2011), "Anderson acceleration for fixed-point iterations", SIAM J. Numer.
Anal. 49(4), eq. (2.2), with dZ = dF - dG; on an affine map in exact arithmetic it spans the same
space as GMRES (their Thm 2.2). The columns are normalised first, so that the ridge is relative to
the data: an absolute one is blind to the scale of the state.

The safeguard, per row: a point whose residual exceeds `growth` times the least one since the
last restart is left; the row restarts with an empty window from a Picard step at its last good
point. The next point is then accepted as it comes, which keeps maps that do not contract moving.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from deqlab.solvers.base import Solver
from deqlab.solvers.map import Map
from deqlab.solvers.picard import check_damping
from deqlab.state import choose_rows


@dataclass
class Window:
    """The differences the next step may use; column `slot` of the m is written next.

    A column of dG that is not in use is zero, and so are its products.
    """

    dg: Float[Tensor, "B m D"]
    df: Float[Tensor, "B m D"]
    gram: Float[Tensor, "B m m"]  # dG' dG in float64, one row and column updated a step
    g: Float[Tensor, "B D"] | None = None  # at the last good point
    fz: Float[Tensor, "B D"] | None = None
    least: Float[Tensor, " B"] | None = None  # residual since the last restart
    slot: int = 0


@dataclass(frozen=True, kw_only=True)
class Anderson(Solver[Window]):
    """Anderson acceleration with a window of `memory` differences.

    Memory: 2 memory + 3 states. Work per step beyond f: 2 memory + 1 inner products per row.

    Attributes:
        memory: m, at least 1; no more than D differences are ever kept.
        damping: beta, in (0, 1]; below 1 helps where f has eigenvalues far below 0.
        ridge: Tikhonov weight relative to the normalised columns of dG.
        growth: A residual this many times the least one since the last restart restarts the row.
    """

    memory: int = 5
    damping: float = 1.0
    ridge: float = 1e-10
    growth: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_damping(self.damping)
        if self.memory < 1:
            raise ValueError(f"memory must be at least 1, got {self.memory}; use Picard for 0")
        if not self.ridge >= 0:
            raise ValueError(f"ridge must be 0 or more, got {self.ridge}")
        if not self.growth > 1:
            raise ValueError(f"growth must be more than 1, got {self.growth}")

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Window:
        batch, dim = z.shape
        m = max(1, min(self.memory, dim))
        return Window(
            dg=z.new_zeros(batch, m, dim),
            df=z.new_zeros(batch, m, dim),
            gram=z.new_zeros(batch, m, m, dtype=torch.float64),
        )

    @override
    def step(
        self, f: Map, z: Float[Tensor, "B D"], fz: Float[Tensor, "B D"], memory: Window
    ) -> tuple[Float[Tensor, "B D"], Window]:
        g = fz - z
        residual = torch.linalg.vector_norm(g.detach(), dim=1)
        if memory.g is None or memory.fz is None or memory.least is None:
            memory.g, memory.fz, memory.least = g, fz, residual
            return torch.lerp(z, fz, self.damping), memory

        rejected = residual > self.growth * memory.least
        products = _push(memory, g - memory.g, fz - memory.fz, g)  # dG' g
        coefficients = _least_squares(memory.gram, products, self.ridge).to(g.dtype)  # (B, m)
        z_next = _mix(fz, memory.df, coefficients)
        if self.damping != 1:
            z_next = z_next - (1 - self.damping) * _mix(g, memory.dg, coefficients)
        memory.least = torch.minimum(residual, memory.least)
        if bool(rejected.any()):
            picard = memory.fz - (1 - self.damping) * memory.g
            z_next = choose_rows(rejected, picard, z_next)
            fz, g = choose_rows(rejected, memory.fz, fz), choose_rows(rejected, memory.g, g)
            memory.least = torch.where(rejected, torch.inf, memory.least)
            _empty(memory, rejected)
        memory.g, memory.fz = g, fz
        return z_next, memory


def _push(
    window: Window, dg: Float[Tensor, "B D"], df: Float[Tensor, "B D"], g: Float[Tensor, "B D"]
) -> Float[Tensor, "B m"]:
    """Overwrite the oldest difference and its part of the Gram matrix; return dG' g."""
    slot = window.slot
    window.dg, window.df = _write(window.dg, slot, dg), _write(window.df, slot, df)
    # One walk over the window for both products; rows times columns, because the other way
    # round a batched matrix-vector product is eight times slower on a CPU.
    both = torch.bmm(torch.stack((dg, g), dim=1), window.dg.mT).double()  # (B, 2, m)
    window.gram = _write(window.gram, slot, both[:, 0])
    window.gram = _write(window.gram.mT, slot, both[:, 0]).mT
    window.slot = (slot + 1) % window.dg.shape[1]
    return both[:, 1]


def _empty(window: Window, rows: Bool[Tensor, " B"]) -> None:
    """Forget the differences of the named rows: a column of dG that is zero has coefficient 0."""
    keep = ~rows[:, None, None]
    window.dg = torch.where(keep, window.dg, 0.0)
    window.gram = torch.where(keep, window.gram, 0.0)


def _write(buffer: Tensor, slot: int, row: Tensor) -> Tensor:
    """Return `buffer` with one row replaced: in place, unless a tape still needs the old one."""
    if torch.is_grad_enabled() and (row.requires_grad or buffer.requires_grad):
        buffer = buffer.clone()
    buffer[:, slot] = row
    return buffer


def _least_squares(
    gram: Float[Tensor, "B m m"], products: Float[Tensor, "B m"], ridge: float
) -> Float[Tensor, "B m"]:
    """Return the coefficients c, zero for columns that are not in use.

    The ridge is added in the scale of each column: the same as normalising them first.
    """
    squares = gram.diagonal(dim1=1, dim2=2)
    gram = gram + torch.diag_embed(torch.where(squares > 0, ridge * squares, 1.0))
    # solve_ex marks a singular row in `info` instead of raising for the whole batch.
    coefficients: Tensor
    coefficients, info = torch.linalg.solve_ex(gram, products)
    sound = (info == 0) & coefficients.isfinite().all(dim=1)
    if bool(sound.all()):
        return coefficients
    return torch.where(sound[:, None], coefficients, 0.0)


def _mix(
    head: Float[Tensor, "B D"], columns: Float[Tensor, "B m D"], weights: Float[Tensor, "B m"]
) -> Float[Tensor, "B D"]:
    """Return head - columns' weights, row by row."""
    return torch.baddbmm(head[:, None], weights[:, None], columns, alpha=-1).squeeze(1)
