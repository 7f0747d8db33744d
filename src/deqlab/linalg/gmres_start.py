"""Where GMRES starts: at zero, at an x that is known, or at the best multiple of one.

An x of another system, such as that of the last training step, may have another size than the
solution has here. Of all its multiples c x the one with the least residual b - (I - A) c x is

    c = <y, b> / |y|^2,    y = (I - A) x,

which takes the product that any start takes. Its residual is |b| at most: whatever x is, nothing
is lost but that product.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from deqlab.linalg.arnoldi import CHUNK, Basis
from deqlab.linalg.arrays import (
    Array,
    choose,
    dots,
    is_finite,
    known_none,
    less,
    rescaled,
    same_dtype,
    same_kind,
    scaled,
    where,
    zeros_like,
)
from deqlab.linalg.linear_system import LinearSystem
from deqlab.linalg.norms import norms
from deqlab.linalg.scaled_norms import scaled_norms


class Asked(NamedTuple):
    """What is asked of each row, (B,), on the host or on a device; see `gmres`."""

    tolerance: Array
    running: Array | None
    needed: Array | None
    also: Array | None


class Start(NamedTuple):
    """Where each row starts; the numbers of rows are on the host."""

    x: Array
    size: np.ndarray  # |x|
    r: Array  # b - (I - A) x
    residual: np.ndarray  # |r|
    asked: Asked
    basis: Basis | None = None  # of the first cycle, where it has begun
    columns: Sequence[tuple[np.ndarray, np.ndarray]] = ()  # of its H


def started(
    system: LinearSystem, x0: Tensor | None, asked: Asked, *, length: int, best: bool
) -> Start:
    """Return where each row starts.

    Args:
        system: The system.
        x0: Where; None for 0.
        asked: What is asked of each row.
        length: Products in a cycle.
        best: Whether to start at the best multiple of it.
    """
    if x0 is None:
        x, r = zeros_like(system.b), system.b
    else:
        x = system.array(x0)
        x, r = _best_multiple(system, x) if best else (x, system.residual(x))
    start = _on_host if system.on_host else _on_device
    return start(system, x, r, asked, at_zero=x0 is None, length=length)


def _best_multiple(system: LinearSystem, x: Array) -> tuple[Array, Array]:
    """Return the multiple of x with the least residual, and this; 0 and b if x is not finite."""
    y = x - system.apply(x)
    size = norms(y) if system.on_host else scaled_norms(y)
    unit = y / same_dtype(size, y)[:, None]
    factor = dots(unit[:, None], system.b)[:, 0] / size
    sound = is_finite(factor)
    if not known_none(~sound):
        factor, none = where(sound, factor, 0.0), zeros_like(x)
        x, y = choose(sound, x, none), choose(sound, y, none)
    return scaled(factor, x), less(system.b, rescaled(factor, y))


def _on_host(
    system: LinearSystem, x: Array, r: Array, asked: Asked, *, at_zero: bool, length: int
) -> Start:
    if at_zero:
        return Start(x, np.zeros(len(x)), r, system.norms, asked)
    residual = norms(r)
    system.trace.append(residual)
    return Start(x, norms(x), r, residual, asked)


def _on_device(
    system: LinearSystem, x: Array, r: Array, asked: Asked, *, at_zero: bool, length: int
) -> Start:
    """Take the first products before anyone looks; with them the host learns numbers of rows."""
    sizes = [scaled_norms(each) for each in (system.b, x, r)]
    basis = Basis(system.apply, r, sizes[2], length=length, eps=system.eps)
    beside = [same_kind(numbers, r) for numbers in asked if numbers is not None]
    columns, told = basis.begin(min(CHUNK, length, system.left), [*sizes, *beside])
    system.norms, size, residual = (np.where(each < np.inf, each, np.nan) for each in told[:3])
    if not at_zero:
        system.trace.append(residual)
    masks = iter(told[4:])
    known = [None if mask is None else next(masks) > 0 for mask in asked[1:]]
    return Start(x, size, r, residual, Asked(told[3], *known), basis, columns)
