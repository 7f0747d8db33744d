"""GMRES for the adjoint equation as a function of tensors, for a loop that a compiler takes.

The mathematics, the order of products and the rules that end a row are those of `linalg.gmres` and
`linalg.least_squares`, of which the constants are imported. What differs is the room: a compiled
loop has tensors of fixed shapes, so that there is one Krylov space, with room for `longest` vectors
from the start, and no restart. The basis and H are written in place, and a step reads only what is
filled. A second pass of Gram-Schmidt, which is left out outside where the first is enough, is taken
always.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop_op

from deqlab.linalg.gmres import FIRST, ROUNDING
from deqlab.linalg.least_squares import SINGULAR
from deqlab.linalg.scaled_norms import scaled_norms

FLOAT = torch.float64

ROOM = 2**22
"""The most numbers in a basis of more than `FIRST` vectors."""

Map: TypeAlias = Callable[..., Tensor]
"""(v, *given) -> A v."""


class System(NamedTuple):
    """x = A x + b, and what its rows are held to."""

    b: Float[Tensor, "B D"]
    tolerance: Float64[Tensor, " B"]
    needed: Bool[Tensor, " B"]  # rows whose end is waited for
    limit: Int64[Tensor, ""]  # products at most


class Rows(NamedTuple):
    """What one product hands on to the next: the least-squares problem of each row.

    The names are those of `LeastSquares`; no two tensors share their numbers.
    """

    products: Int64[Tensor, ""]  # as many as columns
    q: Float64[Tensor, "n B"]
    residual: Float64[Tensor, " B"]
    closed: Bool[Tensor, " B"]
    failed: Bool[Tensor, " B"]
    used: Int64[Tensor, " B"]  # columns of the row
    scale: Float64[Tensor, " B"]
    steps: Int64[Tensor, " B"]  # residuals that were not within the tolerance, the first included


def gmres(product: Map, given: Sequence[Any], system: System) -> tuple[Float[Tensor, "B D"], Rows]:
    """Solve x = A x + b, row by row, as `linalg.gmres.gmres` does from x = 0 in its first cycle.

    Args:
        product: (v, *given) -> A v; given are tensors, or numbers that stand for sizes.
        given: What products take beside v.
        system: The equation.

    Returns:
        x, and the rows, whose residual is not below its rounding.
    """
    b = system.b
    size = scaled_norms(b)
    columns = longest(b) + 1
    runs = (size > system.tolerance) & size.isfinite()
    start = torch.where(runs[:, None], b / size.to(b.dtype)[:, None], 0.0)
    basis = b.new_empty((columns, *b.shape))
    basis.select(0, 0).copy_(start)
    h = b.new_empty((columns - 1, columns, b.shape[0]), dtype=FLOAT)
    at = torch.arange(columns, device=b.device)[:, None]
    rows = Rows(
        products=torch.zeros_like(system.limit),
        q=torch.where(at == 0, torch.ones_like(size), 0.0),
        residual=size.clone(),
        closed=~runs,
        failed=torch.zeros_like(runs),
        used=torch.zeros_like(size, dtype=torch.int64),
        scale=torch.ones_like(size),
        steps=runs.to(torch.int64),
    )
    rows = _loop(product, given, system, rows, basis, h)
    y = _solved(rows, h, size)
    x = (basis.narrow(0, 0, y.shape[1]) * y.T.to(b.dtype)[:, :, None]).sum(dim=0)
    noise = ROUNDING * torch.finfo(b.dtype).eps
    noise = noise * (size + rows.scale * torch.linalg.vector_norm(y, dim=1))
    claims = torch.fmax(rows.residual, noise)  # the scale of a row that failed may be nan
    return x, rows._replace(residual=torch.where(runs, claims, size))


def longest(b: Float[Tensor, "B D"]) -> int:
    """Return how many products there is room for."""
    batch, dim = b.shape[0], max(1, b.shape[1])
    # Of a batch that may have any size, it is not known how much room it takes.
    room = ROOM // max(1, batch * dim) if isinstance(batch, int) else FIRST
    return min(dim, max(FIRST, room))


def _loop(
    product: Map,
    given: Sequence[Any],
    system: System,
    rows: Rows,
    basis: Float[Tensor, "n B D"],
    h: Float64[Tensor, "m n B"],
) -> Rows:
    """Take products until no row waits; write V into `basis`, and the columns of H into `h`."""
    carried, most, eps = len(Rows._fields), len(h), torch.finfo(basis.dtype).eps

    def goes_on(*tensors: Any) -> Tensor:  # noqa: ANN401
        rows = Rows(*tensors[:carried])
        needed, limit = tensors[carried + 3 : carried + 5]
        waits: Tensor = (needed & ~rows.closed).any() & (rows.products < limit)
        return waits & (rows.products < most)

    def column(*tensors: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        rows = Rows(*tensors[:carried])
        basis, h, tolerance, _, _, *given = tensors[carried:]
        k: Any = rows.products.item()
        torch._check(k >= 0)
        torch._check(k < most)
        overlaps, w = _orthogonal(basis.narrow(0, 0, k + 1), product(basis.select(0, k), *given))
        rest = torch.linalg.vector_norm(w, dim=1, dtype=FLOAT)
        found, sound = _taken_in(rows, overlaps, rest, tolerance, k, eps)
        goes_on = (sound & ~found.closed)[:, None]
        basis.select(0, k + 1).copy_(torch.where(goes_on, w / rest.to(w.dtype)[:, None], 0.0))
        at = torch.arange(most + 1, device=w.device)[:, None]
        filled = torch.nn.functional.pad(overlaps, (0, 0, 0, most - k))
        new = torch.where(at <= rows.products, filled, torch.where(at == found.products, rest, 0.0))
        h.select(0, k).copy_(torch.where(sound, new, 0.0))
        return tuple(found)

    beside = (basis, h, system.tolerance, system.needed, system.limit, *given)
    written = f"{carried},{carried + 1}"
    loop: Any = while_loop_op
    return Rows(*loop(goes_on, column, tuple(rows), beside, mutated_arg_indices=written))


def _orthogonal(
    basis: Float[Tensor, "k B D"], w: Float[Tensor, "B D"]
) -> tuple[Float64[Tensor, "k B"], Float[Tensor, "B D"]]:
    """Return V'w, and what is left of w."""
    overlaps = (basis * w).sum(dim=2)
    w = w - (basis * overlaps[:, :, None]).sum(dim=0)
    more = (basis * w).sum(dim=2)
    w = w - (basis * more[:, :, None]).sum(dim=0)
    return (overlaps + more).to(FLOAT), w


def _taken_in(
    rows: Rows,
    overlaps: Float64[Tensor, "k B"],
    rest: Float64[Tensor, " B"],
    tolerance: Float64[Tensor, " B"],
    k: int,
    eps: float,
) -> tuple[Rows, Bool[Tensor, " B"]]:
    """Return the problems with column k of H, and the rows that take it; see `LeastSquares.add`."""
    diagonal = rows.q.select(0, k) - (rows.q.narrow(0, 0, k + 1) * overlaps).sum(dim=0)
    radius, first = torch.hypot(diagonal, rest), torch.hypot(overlaps.select(0, 0), rest)
    scale = torch.where(rows.products == 0, 1 + first, rows.scale)
    sound = (radius > SINGULAR * eps * scale) & (radius < torch.inf) & ~rows.closed
    sine = torch.where(sound, rest / radius, 1.0)
    cosine = torch.where(sound, diagonal / radius, 0.0)
    residual, count = rows.residual * sine, rows.products + 1
    at = torch.arange(len(rows.q), device=rest.device)[:, None]
    found = Rows(
        products=count,
        q=torch.where(at == count, cosine, rows.q * torch.where(at < count, sine, 1.0)),
        residual=residual,
        closed=rows.closed | ~sound | (residual <= tolerance),
        failed=rows.failed | (~rows.closed & ~radius.isfinite()),
        used=rows.used + sound,
        scale=scale,
        steps=rows.steps + (residual > tolerance),
    )
    return found, sound


def _solved(
    rows: Rows, h: Float64[Tensor, "m n B"], beta: Float64[Tensor, " B"]
) -> Float64[Tensor, "B k"]:
    """Return y of each row, zero beyond the columns that it uses, from [M q] (y, gamma) = beta e_1.

    Columns that a row does not use become those of a shift; see `LeastSquares`.
    """
    k: Any = rows.products.clamp_min(1).item()
    torch._check(k >= 1)
    torch._check(k <= len(h))
    at = torch.arange(len(rows.q), device=h.device)
    i, j = at[:, None], at[: len(h)]
    idle = (j >= rows.used[:, None])[:, None]
    m = torch.where(idle, i == j + 1, (i == j).to(FLOAT) - h.permute(2, 1, 0))
    q = rows.q.narrow(0, 0, k + 1).T[:, :, None]
    m = torch.cat([m.narrow(1, 0, k + 1).narrow(2, 0, k), q], dim=2)
    right = torch.where(at == 0, beta[:, None], 0.0).narrow(1, 0, k + 1)
    y, info = torch.linalg.solve_ex(m, right)
    sound = (info == 0) & y.isfinite().all(dim=1)
    return torch.where(sound[:, None], y, 0.0).narrow(1, 0, k)
