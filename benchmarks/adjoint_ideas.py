"""What could save products of the adjoint v = J'v + u: a start, a preconditioner, a space.

Each idea is a sequence of iterates, with the products that each took. All of them minimise the
residual over their Krylov space, by a plain dense least-squares problem: none is favoured by what
the library does well.

    start:           v in v0 + K(A, u - A v0),      A = I - J', one product for the start
    best multiple:   v in c v0 + K(A, u - c A v0),  c = <A v0, u> / |A v0|^2
    augmented:       the least residual over the sum of span(v0) and the Krylov space
    preconditioner:  v = M w, w in K(A M, u),       M = -H', no product of its own

H estimates (J - I)^-1 from the pairs dz, dg of the forward solve: Broyden's is that of `Shine`, and
Anderson's is the least change of -I with H dg = dz for all pairs of the window, whose transpose is

    -H' = I - dG (dG' dG)^-1 dF',    dF = dZ + dG.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.linalg.arrays import combine, dots
from deqlab.linalg.gmres import gmres
from deqlab.linalg.products import Product
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver
from deqlab.solvers.broyden import Broyden

Iterates: TypeAlias = Iterator[tuple[int, Tensor]]
"""Products, and v."""

MOST = 40
"""Products at most."""

GOLD = 1e-6
"""The residual of the v that others are held against, relative to |u|."""


@dataclass
class Known:
    """What a backward pass may know.

    Attributes:
        solver: The forward method.
        memory: What it wrote.
        z: Where it ended, if that is known.
        fz: f there.
        previous: The v of the same samples from before; zero for samples without one.
        mean: The mean v of the last batch, in every row.
    """

    solver: Solver[Any]
    memory: Any
    z: Tensor | None = None
    fz: Tensor | None = None
    previous: Tensor | None = None
    mean: Tensor | None = None

    def inverse(self) -> Product | None:
        """Return v -> -H'v; None if the solve has taken no step."""
        if isinstance(self.solver, Broyden):
            broyden = self.solver
            return lambda v: -broyden.inverse_transposed(self.memory, v)
        assert isinstance(self.solver, Anderson)
        return self._of_pairs()

    def _of_pairs(self) -> Product | None:
        window = self.memory.window
        if window is None or not window.used:
            return None
        dg, df = np.array(window.dg), np.array(window.df)
        columns, last = list(range(window.used)), window.open
        if self.z is not None and self.fz is not None:  # the pair that no step was left for
            df[:, last] = self.fz.numpy() - df[:, last]
            dg[:, last] = (self.fz - self.z).numpy() - dg[:, last]
            columns = sorted({*columns, last})
        else:  # a column that holds a point, and no difference
            columns = [i for i in columns if i != last]
        if not columns:
            return None
        dg, df = dg[:, columns], df[:, columns]
        size = np.linalg.norm(dg, axis=2, keepdims=True)
        size = np.where(size > 0, size, 1.0)
        dg, df = dg / size, df / size
        wide = dg.astype(np.float64)
        inverse = np.linalg.inv(wide @ wide.swapaxes(1, 2) + 1e-10 * np.eye(len(columns)))

        def product(v: Tensor) -> Tensor:
            array = v.numpy()
            weights = np.matvec(inverse, dots(df, array))
            return torch.from_numpy(array - combine(dg, weights))

        return product


def krylov(product: Product, b: Float[Tensor, "B D"]) -> Iterator[Float[Tensor, "B D"]]:
    """Yield the x of least residual in x = A x + b after 1, 2, ... products."""
    beta = _norms(b)
    basis = [b / beta.clamp_min(1e-300)[:, None].to(b.dtype)]
    h = torch.zeros(len(b), MOST + 1, MOST, dtype=torch.float64)
    for k in range(MOST):
        w = product(basis[k])
        for _ in range(2):
            overlaps = torch.stack([(v * w).sum(dim=1, dtype=torch.float64) for v in basis], dim=1)
            h[:, : k + 1, k] += overlaps
            w = w - sum(o[:, None].to(w) * v for o, v in zip(overlaps.T, basis, strict=True))
        h[:, k + 1, k] = _norms(w)
        basis.append(w / h[:, k + 1, k].clamp_min(1e-300)[:, None].to(w))
        system = torch.eye(k + 2, k + 1, dtype=torch.float64) - h[:, : k + 2, : k + 1]
        y = beta[:, None] * torch.linalg.pinv(system)[:, :, 0]
        yield sum((c[:, None].to(b) * v for c, v in zip(y.T, basis, strict=False)), 0 * b)


def nothing(product: Product, u: Tensor, known: Known) -> Iterates:
    """Yield plain GMRES."""
    yield from enumerate(krylov(product, u), 1)


def from_start(product: Product, u: Tensor, v0: Tensor) -> Iterates:
    """Yield GMRES from a start, whose residual takes a product."""
    yield 1, v0
    for k, x in enumerate(krylov(product, u - v0 + product(v0)), 2):
        yield k, v0 + x


def from_multiple(product: Product, u: Tensor, v0: Tensor) -> Iterates:
    """Yield GMRES from the best multiple of a start."""
    image = v0 - product(v0)
    size = image.square().sum(dim=1, keepdim=True).clamp_min(1e-30)
    return from_start(product, u, (image * u).sum(dim=1, keepdim=True) / size * v0)


def augmented(product: Product, u: Tensor, v0: Tensor) -> Iterates:
    """Yield the v of least residual in the span of a start and a Krylov space."""
    image = v0 - product(v0)
    size = torch.linalg.vector_norm(image, dim=1, keepdim=True).clamp_min(1e-15)
    c, start = image / size, v0 / size

    def along(w: Tensor) -> Tensor:
        return (c * w).sum(dim=1, keepdim=True)

    def rest(w: Tensor) -> Tensor:
        image = w - product(w)
        return w - (image - c * along(image))

    yield 1, start * along(u)
    for k, x in enumerate(krylov(rest, u - c * along(u)), 2):
        yield k, x + start * along(u - x + product(x))


def preconditioned(product: Product, u: Tensor, known: Known) -> Iterates | None:
    """Return GMRES with the inverse of the forward solve on the right."""
    if (inverse := known.inverse()) is None:
        return None

    return ((k, inverse(w)) for k, w in enumerate(krylov(through(product, inverse), u), 1))


def through(product: Product, inverse: Product) -> Product:
    """Return w -> A w of the equation for w, where v = M w and `inverse` is M."""

    def preconditioned(w: Tensor) -> Tensor:
        v = inverse(w)
        return w - v + product(v)

    return preconditioned


def shine(product: Product, u: Tensor, known: Known) -> Iterates | None:
    """Return GMRES from v = -H'u."""
    inverse = known.inverse()
    return None if inverse is None else from_start(product, u, inverse(u))


def _with(
    method: Callable[[Product, Tensor, Tensor], Iterates], what: str
) -> Callable[[Product, Tensor, Known], Iterates | None]:
    def idea(product: Product, u: Tensor, known: Known) -> Iterates | None:
        v0 = getattr(known, what)
        return None if v0 is None else method(product, u, v0)

    return idea


IDEAS: dict[str, Callable[[Product, Tensor, Known], Iterates | None]] = {
    "nothing": nothing,
    "inverse as preconditioner": preconditioned,
    "inverse as start": shine,
    "v of last step": _with(from_start, "previous"),
    "its best multiple": _with(from_multiple, "previous"),
    "its span": _with(augmented, "previous"),
    "mean v, best multiple": _with(from_multiple, "mean"),
}


def true_v(product: Product, u: Tensor) -> Tensor:
    """Return v, solved to `GOLD`."""
    return gmres(product, u, tolerance=GOLD * _norms(u).numpy(), max_products=400).x


def products_to(
    accuracies: Sequence[float], iterates: Iterates, v: Tensor, rows: Tensor | None
) -> dict[float, int | None]:
    """Return the products until the error of every row is within each accuracy; None is never."""
    taken: dict[float, int | None] = dict.fromkeys(accuracies)
    for count, found in iterates:
        errors = _norms(found - v) / _norms(v)
        error = (errors if rows is None else errors[rows]).nan_to_num(nan=0.0).max().item()
        for accuracy in accuracies:
            if taken[accuracy] is None and error <= accuracy:
                taken[accuracy] = count
        if None not in taken.values():
            break
    return taken


def _norms(matrix: Tensor) -> Float[Tensor, " B"]:
    return torch.linalg.vector_norm(matrix, dim=1, dtype=torch.float64)
