"""The steps of Picard iteration and of Anderson acceleration, as functions of tensors.

The mathematics are those of `solvers.picard`, `solvers.anderson` and `solvers.anderson_window`. A
compiled loop carries tensors of fixed shapes, and writes to none: the window has all its columns
from the start, and a column that a row does not use is zero, as is its coefficient.
"""

from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver
from deqlab.solvers.picard import Picard

FLOAT = torch.float64
"""The dtype of inner products, whatever that of the state: a compiler fuses the conversion into the
sum."""


class Recent(NamedTuple):
    """What the next step of Anderson acceleration may use; g is in units of the weights."""

    dg: Float[Tensor, "B m D"]  # the last m differences of g, and of f(z)
    df: Float[Tensor, "B m D"]
    gram: Float64[Tensor, "B m m"]  # dG' dG
    fz: Float[Tensor, "B D"]  # at the last good point, as is g
    g: Float[Tensor, "B D"]
    least: Float64[Tensor, " B"]  # |g| since the last restart


Memory: TypeAlias = Recent | tuple[()]


def init(
    solver: Solver[Any],
    z: Float[Tensor, "B D"],
    fz: Float[Tensor, "B D"],
    weights: Float[Tensor, "B D"] | None,
) -> Memory:
    """Return the memory of a method before its first step, which is from z and f(z) = fz."""
    if not isinstance(solver, Anderson):
        return ()
    wide = torch.promote_types(z.dtype, torch.float32)
    batch, columns = z.shape[0], max(1, min(solver.memory, z.shape[1]))
    # The first difference is that of the first point and itself, zero: no column at all.
    return Recent(
        dg=z.new_zeros((batch, columns, z.shape[1]), dtype=wide),
        df=z.new_zeros((batch, columns, z.shape[1]), dtype=wide),
        gram=z.new_zeros((batch, columns, columns), dtype=FLOAT),
        fz=fz.to(wide, copy=True),
        g=_residual(z, fz, weights),
        least=z.new_full((batch,), torch.inf, dtype=FLOAT),
    )


def step(
    solver: Solver[Any],
    z: Float[Tensor, "B D"],
    fz: Float[Tensor, "B D"],
    memory: Memory,
    count: Int64[Tensor, ""],
    weights: Float[Tensor, "B D"] | None,
) -> tuple[Float[Tensor, "B D"], Memory]:
    """Return the next iterate of every row.

    Args:
        solver: Picard or Anderson.
        z: The iterate.
        fz: Its image.
        memory: What the method wrote before.
        count: The number of the iterate, counted from 1.
        weights: What brings blocks of different scales to one; None for one block.
    """
    if isinstance(solver, Picard):
        return (fz if solver.damping == 1 else torch.lerp(z, fz, solver.damping)), ()
    assert isinstance(solver, Anderson)
    assert isinstance(memory, Recent)
    z_next, memory = _anderson(solver, z, fz, memory, count, weights)
    return z_next.to(z.dtype), memory


def _anderson(
    solver: Anderson, z: Tensor, fz: Tensor, last: Recent, count: Tensor, weights: Tensor | None
) -> tuple[Tensor, Recent]:
    g, fz = _residual(z, fz, weights), fz.to(last.df.dtype)
    residual = torch.linalg.vector_norm(g, dim=1, dtype=FLOAT)
    rejected = residual > solver.growth * last.least

    columns = last.dg.shape[1]
    # In place of the oldest; that of the first step is zero.
    newest = torch.arange(columns, device=z.device) == count % columns
    difference = g - last.g
    dg = torch.where(newest[:, None], difference[:, None], last.dg)
    df = torch.where(newest[:, None], (fz - last.fz)[:, None], last.df)
    beside = _products(dg, difference)
    gram = torch.where(newest[:, None], beside[:, None], last.gram)
    gram = torch.where(newest, beside[:, :, None], gram)
    c = _coefficients(gram, _products(dg, g), solver.ridge).to(fz.dtype)[:, :, None]

    rest = g if solver.damping == 1 else g - (c * dg).sum(dim=1)
    z_next = _damped(solver, fz - (c * df).sum(dim=1), rest, weights)
    again, keep = rejected[:, None], ~rejected[:, None, None]
    recent = Recent(
        dg=torch.where(keep, dg, 0.0),
        df=torch.where(keep, df, 0.0),
        gram=torch.where(keep, gram, 0.0),
        fz=torch.where(again, last.fz, fz),
        g=torch.where(again, last.g, g),
        least=torch.where(rejected, torch.inf, torch.minimum(last.least, residual)),
    )
    return torch.where(again, _damped(solver, last.fz, last.g, weights), z_next), recent


def _residual(z: Tensor, fz: Tensor, weights: Tensor | None) -> Tensor:
    wide = torch.promote_types(z.dtype, torch.float32)
    g = fz.to(wide) - z.to(wide)
    return g if weights is None else g * weights


def _damped(solver: Anderson, fz: Tensor, g: Tensor, weights: Tensor | None) -> Tensor:
    if solver.damping == 1:
        return fz
    return fz - (1 - solver.damping) * (g if weights is None else g / weights)


def _products(columns: Float[Tensor, "B m D"], g: Float[Tensor, "B D"]) -> Float64[Tensor, "B m"]:
    """Return columns' g."""
    return (columns.to(FLOAT) * g.to(FLOAT)[:, None]).sum(dim=2)


def _coefficients(
    gram: Float64[Tensor, "B m m"], products: Float64[Tensor, "B m"], ridge: float
) -> Float64[Tensor, "B m"]:
    """Return c of each row, by Gauss-Jordan elimination.

    A Gram matrix needs no pivots, and a compiler fuses this arithmetic: for five columns it takes
    half the time of torch.linalg, which is called matrix by matrix.
    """
    columns = gram.shape[1]
    unit = torch.eye(columns, dtype=gram.dtype, device=gram.device)
    squares = (gram * unit).sum(dim=2, keepdim=True)
    system = gram + unit * torch.where(squares > 0, ridge * squares, 1.0)
    system = torch.cat([system, products[:, :, None]], dim=2)
    for i in range(columns):  # its first column becomes that of the unit matrix, and is dropped
        row = system[:, i, None, 1:] / system[:, i, None, :1]
        rest = system[:, :, 1:] - system[:, :, :1] * row
        system = torch.where(unit[i, :, None] > 0, row, rest)
    c = system[:, :, 0]
    return torch.where(c.isfinite().all(dim=1, keepdim=True), c, 0.0)
