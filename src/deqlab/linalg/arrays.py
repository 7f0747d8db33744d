"""What numpy's arrays and torch's tensors both do: the one place that decides between them.

On a CPU numpy is several times faster on small states. On another device, and where a tape records
the steps of a solver, arrays are torch's. All functions keep the kind of what they are given.
"""

from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Array: TypeAlias = Any
"""np.ndarray or Tensor."""

CACHED = 2**17
"""Numbers of a state that a core's cache holds beside what else is at hand."""

ON_HOST = (torch.float32, torch.float64)
"""The dtypes of states that numpy knows as well."""


def as_array(matrix: Tensor) -> np.ndarray | None:
    """Return a tensor as a numpy array, without a copy or in float32; None if it is on a device."""
    if not matrix.is_cpu:
        return None
    if matrix.requires_grad:
        matrix = matrix.detach()
    array: np.ndarray = (matrix if matrix.dtype in ON_HOST else matrix.float()).numpy()
    return array


def as_tensor(array: Array) -> Tensor:
    """Return an array as a tensor, without a copy."""
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array


def of_rows(tensor: Tensor) -> Array:
    """Return a number for each row as numpy's if it is on a CPU, and else where it is."""
    return tensor.numpy() if tensor.is_cpu else tensor


def on_host(array: Array) -> np.ndarray:
    """Return an array's numbers as numpy's."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.detach().cpu().numpy())


def where_known(mask: Array, like: Array) -> Array:
    """Return a mask on the host if `like` is there, for then its numbers may be looked at."""
    return on_host(mask) if isinstance(like, np.ndarray) else mask


def same_kind(numbers: Array, array: Array) -> Array:
    """Return numbers, of the host or of its kind, as the kind of array that `array` is."""
    if isinstance(array, np.ndarray):
        return numbers
    return as_tensor(numbers).to(array.device)


def same_dtype(array: Array, other: Array) -> Array:
    """Return `array` in the dtype of another of its kind."""
    if isinstance(array, np.ndarray):
        return array.astype(other.dtype, copy=False)
    return array.to(other.dtype)


def eps(array: Array) -> float:
    """Return the distance from 1 to the next number of its dtype."""
    return float((np.finfo if isinstance(array, np.ndarray) else torch.finfo)(array.dtype).eps)


def zeros_like(array: Array) -> Array:
    """Return zeros."""
    return np.zeros_like(array) if isinstance(array, np.ndarray) else torch.zeros_like(array)


def filled_like(array: Array, number: float) -> Array:
    """Return an array of this shape and kind with one number everywhere."""
    if isinstance(array, np.ndarray):
        return np.full_like(array, number)
    return torch.full_like(array, number)


def row_max(array: Array) -> Array:
    """Return the largest number of each row; nan where one is."""
    return array.max(axis=1) if isinstance(array, np.ndarray) else array.amax(dim=1)


def empty(count: int, array: Array) -> Array:
    """Return room for so many arrays like this one."""
    shape = (count, *array.shape)
    if isinstance(array, np.ndarray):
        return np.empty(shape, dtype=array.dtype)
    return array.new_empty(shape)


def widened(array: Array, shape: tuple[int, int]) -> Array:
    """Return an array of this shape for each row, zero but for what `array` holds."""
    whole = (len(array), *shape)
    if isinstance(array, np.ndarray):
        wide = np.zeros(whole, array.dtype)
    else:
        wide = array.new_zeros(whole)
    return written(wide, (slice(None), slice(array.shape[1]), slice(array.shape[2])), array)


def written(array: Array, index: Any, values: Any) -> Array:  # noqa: ANN401
    """Return `array` with some values replaced: in place, unless a tape needs the old ones."""
    taped = any(isinstance(part, Tensor) and part.requires_grad for part in (array, values))
    if taped and torch.is_grad_enabled():
        array = array.clone()
    array[index] = values
    return array


def taken_from(values: Array, array: Array, index: Any) -> Array:  # noqa: ANN401
    """Return `array` with values - array[index] at that index, where it stands on a CPU."""
    if isinstance(array, np.ndarray):
        np.subtract(values, array[index], out=array[index])
        return array
    return written(array, index, values - array[index])


def copied(array: Array) -> Array:
    """Return the same numbers in their own memory."""
    return array.copy() if isinstance(array, np.ndarray) else array.clone()


def where(mask: Array, yes: Array, no: Array) -> Array:
    """Return the numbers of `yes` where `mask` is true, and of `no` elsewhere."""
    return (np.where if isinstance(mask, np.ndarray) else torch.where)(mask, yes, no)


def choose(rows: Array, yes: Array, no: Array) -> Array:
    """Return the rows of `yes` where `rows` is true, and those of `no` elsewhere."""
    return where(rows if no.ndim == 1 else rows[:, None], yes, no)


def choose_rows(
    mask: Bool[Array, " B"], yes: Float[Tensor, "B D"], no: Float[Tensor, "B D"]
) -> Float[Tensor, "B D"]:
    """Return the rows of one tensor where a mask is true, and of another elsewhere.

    The value of `torch.where(mask[:, None], yes, no)`; on a CPU, where a broadcast mask is not
    vectorised, copying rows is six times faster, and numpy is quicker about small ones. A mask of
    the host may choose on a device.
    """
    if not isinstance(mask, np.ndarray) or not yes.is_cpu:
        return torch.where(same_kind(mask, yes)[:, None], yes, no)
    few = 2 * np.count_nonzero(mask) <= len(mask)
    base, other, rows = (no, yes, mask) if few else (yes, no, ~mask)
    if yes.requires_grad or no.requires_grad or yes.dtype not in ON_HOST:
        index = torch.from_numpy(np.flatnonzero(rows))
        return base.index_copy(0, index, other.index_select(0, index))
    chosen = base.numpy().copy()
    chosen[rows] = other.numpy()[rows]
    return torch.from_numpy(chosen)


def every(rows: np.ndarray) -> bool:
    """Return whether a mask is true everywhere: ten times faster than its `all()`."""
    return bool(np.count_nonzero(rows) == len(rows))


def smaller(a: Array, b: Array | float) -> Array:
    """Return the elementwise minimum of an array and another, or a number; nan where one is."""
    if isinstance(a, np.ndarray):
        return np.minimum(a, b)
    return a.clamp_max(b) if isinstance(b, float) else torch.minimum(a, b)


def larger(a: Array, b: Array | float) -> Array:
    """Return the elementwise maximum of an array and another, or a number; nan where one is."""
    if isinstance(a, np.ndarray):
        return np.maximum(a, b)
    return a.clamp_min(b) if isinstance(b, float) else torch.maximum(a, b)


def logarithm(array: Array) -> Array:
    """Return the natural logarithm."""
    return np.log(array) if isinstance(array, np.ndarray) else array.log()


def hypotenuse(a: Array, b: Array) -> Array:
    """Return the root of the sum of both squares."""
    return np.hypot(a, b) if isinstance(a, np.ndarray) else torch.hypot(a, b)


def is_finite(array: Array) -> Array:
    """Return where numbers are neither inf nor nan."""
    return np.isfinite(array) if isinstance(array, np.ndarray) else array.isfinite()


def rows_of(z: Float[Tensor, "B D"]) -> Array:
    """Return an array with a number for each row: on the host for a state on a CPU, else beside it.

    The numbers are of no account; see `filled`.
    """
    if z.is_cpu:
        return np.empty(len(z))
    return torch.empty(len(z), dtype=torch.float64, device=z.device)


def filled(number: bool | int | float, like: Array) -> Array:
    """Return an array with this number for each row of another: bool, int64 or float64."""
    if isinstance(like, np.ndarray):
        found = np.empty(like.shape[0], dtype=type(number))  # three times faster than np.full
        found.fill(number)
        return found
    dtype = torch.float64 if isinstance(number, float) else None  # else that of the number
    return torch.full((like.shape[0],), number, dtype=dtype, device=like.device)


def known_none(mask: Array) -> bool:
    """Return whether a mask of the host is false everywhere; False for a tensor.

    What follows is then left out where that is cheap to know. A tensor may be on a device that is
    not to be waited for, or be traced by a compiler, and its numbers are not looked at.
    """
    return isinstance(mask, np.ndarray) and not np.count_nonzero(mask)


def less(w: Array, part: Array) -> Array:
    """Return w - part, in the memory of the second on a CPU."""
    if isinstance(w, np.ndarray):
        return np.subtract(w, part, out=part)
    return w - part


def more(w: Array, part: Array) -> Array:
    """Return w + part, in the memory of the second on a CPU."""
    if isinstance(w, np.ndarray):
        return np.add(w, part, out=part)
    return w + part


def rescaled(factors: Array, rows: Array) -> Array:
    """Return each row times its factor, in the memory of the rows on a CPU."""
    if isinstance(rows, np.ndarray):
        return np.multiply(rows, same_dtype(factors, rows)[:, None], out=rows)
    return scaled(factors, rows)


def scaled(factors: Array, rows: Array) -> Array:
    """Return each row times its factor."""
    return same_dtype(factors, rows)[:, None] * rows


def dots(columns: Float[Array, "B n D"], v: Float[Array, "B D"]) -> Float[Array, "B n"]:
    """Return the inner products of v with each of a row's n vectors."""
    if isinstance(columns, np.ndarray):
        return np.vecdot(columns, v[:, None])
    # Rows times columns: the other way round a batched matrix-vector product is eight times
    # slower on a CPU.
    return torch.bmm(v[:, None], columns.mT)[:, 0]


def combine(columns: Float[Array, "B n D"], weights: Float[Array, "B n"]) -> Float[Array, "B D"]:
    """Return the sum of a row's n vectors with these weights."""
    return (same_dtype(weights, columns)[:, None] @ columns)[:, 0]


def dots_of_basis(basis: Float[Array, "k B D"], w: Float[Array, "B D"]) -> Float[Array, "k B"]:
    """Return what `dots` does of vectors that lie one after the other."""
    if not isinstance(w, np.ndarray):
        return torch.einsum("kbd,bd->kb", basis, w)
    if len(basis) < 8:
        return np.vecdot(basis, w)
    # Rows times columns: a few long inner products are quicker by vecdot, many by BLAS.
    return np.matmul(w[:, None], basis.transpose(1, 2, 0))[:, 0].T


def combine_basis(
    basis: Float[Array, "k B D"], weights: Float[Array, "k B"]
) -> Float[Array, "B D"]:
    """Return what `combine` does of vectors that lie one after the other."""
    if not isinstance(basis, np.ndarray):
        return torch.einsum("kbd,kb->bd", basis, weights)
    if len(basis) == 1:  # matmul does not hand it to BLAS
        return basis[0] * weights[0][:, None]
    return np.matmul(weights.T[:, None], basis.swapaxes(0, 1))[:, 0]


def solve_rows(matrices: Float[Array, "B n n"], right: Float[Array, "B n"]) -> Float[Array, "B n"]:
    """Solve one small system for each row; a row that is singular, or not finite, gets zeros."""
    if isinstance(matrices, np.ndarray):
        try:
            found: np.ndarray = np.linalg.solve(matrices, right[..., None])[..., 0]
        except np.linalg.LinAlgError:  # one singular row is enough for it
            some = torch.from_numpy(right.astype(matrices.dtype, copy=False))
            return on_host(solve_rows(torch.from_numpy(matrices), some))
        sound = np.isfinite(found)
        return found if sound.all() else np.where(sound.all(axis=1)[:, None], found, 0.0)
    # solve_ex marks a singular row in `info` instead of raising for the whole batch.
    solution, info = torch.linalg.solve_ex(matrices, right)
    good = (info == 0) & solution.isfinite().all(dim=1)
    return torch.where(good[:, None], solution, 0.0)
