"""f on some rows of the batch alone, for solves whose finished rows leave it.

The caller says that rows are independent, and which args have a row per sample. That is believed
after a look: the first time rows leave, f on the others must give what it gave on all of them.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map

from deqlab.errors import ConvergenceError
from deqlab.maps.flat_map import FlatMap
from deqlab.maps.matrix_map import Bound

AT_ONCE = 6
"""Args that are searched for one that samples share; every subset of them is tried."""


def narrowing(
    f: FlatMap, args: Sequence[object], rows_independent: bool | Sequence[bool]
) -> "Narrowing | None":
    """Return what restricts f(., *args) to some rows, or None if they must stay together.

    Raises:
        ValueError: A tensor in args has not as many rows as z, or there is not one flag an
            argument.
    """
    if rows_independent is False:
        return None
    flags = [True] * len(args) if rows_independent is True else list(rows_independent)
    if len(flags) != len(args):
        raise ValueError(
            f"rows_independent has {len(flags)} flags for {len(args)} args; it takes one for each"
        )
    batch = f.layout.shapes[0][0]
    for i, (flag, arg) in enumerate(zip(flags, args, strict=True)):
        if not flag:
            continue
        for path, leaf in tree_flatten_with_path(arg)[0]:
            if _has_rows(leaf) and leaf.shape[:1] != (batch,):
                raise ValueError(
                    f"rows_independent: args[{i}]{keystr(path)} of shape {tuple(leaf.shape)} has "
                    f"not one row for each of the {batch} samples; pass one flag an argument, "
                    "False for those that the samples share, such as rows_independent=(False, True)"
                )
    return Narrowing(f, args, flags)


class Narrowing:
    """Restricts f(., *args) to some rows."""

    def __init__(self, f: FlatMap, args: Sequence[object], flags: Sequence[bool]) -> None:
        self.f, self.args, self.flags = f, args, flags
        f.keeps_latest = True  # until it is compared

    def __call__(self, rows: Tensor) -> Bound:
        """Return the map on these rows.

        Raises:
            ValueError: f draws random numbers, or is not the same on these rows as on all.
        """
        part = self._bound(rows, self.flags)
        if self.f.keeps_latest:
            self._compare(rows, part)
            self.f.keeps_latest, self.f.latest = False, None
        return part

    def _bound(self, rows: Tensor, flags: Sequence[bool]) -> Bound:
        args = [
            tree_map(lambda leaf: _some(leaf, rows), arg) if flag else arg
            for flag, arg in zip(flags, self.args, strict=True)
        ]
        return Bound(self.f.narrowed(len(rows)), args)

    def _compare(self, rows: Tensor, part: Bound) -> None:
        """Raise ValueError unless f on these rows is what it was on all of them."""
        assert self.f.latest is not None
        z, fz = (_take(each.detach(), rows) for each in self.f.latest)
        found = self._difference(part, z, fz)
        if found is None:
            return
        what, cause = found
        batch = self.f.layout.shapes[0][0]
        raise ValueError(
            f"rows_independent: f on {len(rows)} of the {batch} rows is not what it is on all of "
            f"them ({what}); {self._way_out(rows, z, fz)}"
        ) from cause

    def _difference(
        self, part: Bound, z: Tensor, fz: Tensor
    ) -> tuple[str, Exception | None] | None:
        """Return how f on some rows differs from what it was there, or None if it does not."""
        try:
            with torch.no_grad():
                found = part(z)
        except (torch.OutOfMemoryError, ConvergenceError):
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0]}", error
        lowest = self.f.lowered or fz.dtype
        wide = [each.double() for each in (found, fz, z)]
        gap = torch.linalg.vector_norm(wide[0] - wide[1], dim=1)
        size = torch.maximum(*(torch.linalg.vector_norm(each, dim=1) for each in wide[1:]))
        # Other sums round otherwise; what is not finite anyway is no matter here.
        differs = size.isfinite() & ~(gap <= torch.finfo(lowest).eps ** 0.5 * size)
        if not bool(differs.any()):
            return None
        worst = int((gap / size).nan_to_num(nan=torch.inf).where(differs, -1.0).argmax())
        return f"a row of norm {size[worst]:.1e} is off by {gap[worst]:.1e}", None

    def _way_out(self, rows: Tensor, z: Tensor, fz: Tensor) -> str:
        """Return what to do: which args look shared, if f is right with these kept whole."""
        given = [i for i, flag in enumerate(self.flags) if flag][:AT_ONCE]
        for count in range(1, len(given) + 1):
            for shared in combinations(given, count):
                flags = [flag and i not in shared for i, flag in enumerate(self.flags)]
                if self._difference(self._bound(rows, flags), z, fz) is None:
                    names = ", ".join(f"args[{i}]" for i in shared)
                    return (
                        f"{names} has as many entries as there are rows, but is shared by the "
                        f"samples: pass rows_independent={tuple(flags)}"
                    )
        return (
            "either a row of f depends on other rows (batch norm, a mean over samples), or f "
            "holds rows that cannot leave with theirs, in a closure or an object, or shared "
            "tensors within a container of args: pass each as an argument of its own, or leave "
            "out rows_independent"
        )


def _has_rows(leaf: object) -> TypeGuard[Tensor | np.ndarray]:
    return isinstance(leaf, Tensor | np.ndarray)


def _some(leaf: object, rows: Tensor) -> object:
    """Return these rows of a tensor or an array, and anything else as it is."""
    if isinstance(leaf, np.ndarray):
        return leaf[rows.cpu().numpy()]
    return _take(leaf, rows) if isinstance(leaf, Tensor) else leaf


def _take(tensor: Tensor, rows: Tensor) -> Tensor:
    return tensor.index_select(0, rows.to(tensor.device))
