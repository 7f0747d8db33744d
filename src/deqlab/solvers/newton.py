"""Newton's method with dense Jacobians.

Write g(z) = f(z) - z and J = df/dz, of shape (D, D) in each row. The step solves

    (I - J) d = g(z),    z+ = z + t d

by one factorisation a row; t = 1 near the solution, where convergence is quadratic, and an affine
map is solved at once. See `line_search` for t elsewhere.

Where f has kinks this is semismooth Newton (Qi & Sun 1993): z = relu(W z + q) is a linear
complementarity problem, which full steps solve exactly in a few iterations, or cycle on. There
the line search looks for kinks. The tangents of f at both ends of a bad trial tell where each
entry of f has one, if it has one; with that model of f, |g| is least at one of the kinks, and just
beyond it the next trial ends. Where f is smooth the tangents meet about halfway.

If I - W is a P-matrix, z - f(z) is a piecewise linear homeomorphism. Then from each good point
|g| falls as 1 - t along d up to the first kink. Steps that end there follow the preimage of a
straight line to 0, which meets every one of the finitely many pieces at most once. The search
prefers the kink where |g| is least, which takes fewer steps, as long as they are few.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from deqlab.linalg.arrays import (
    Array,
    as_tensor,
    choose_rows,
    filled,
    known_none,
    rows_of,
    same_kind,
    where_known,
)
from deqlab.linalg.norms import weighted_norms
from deqlab.linalg.products import Product, jacobian
from deqlab.linalg.tangents import jvp
from deqlab.solvers.base import Solver
from deqlab.solvers.line_search import LineSearch
from deqlab.solvers.loop.evaluation import CountedMap, Iterate

LARGEST = 1024
"""Numbers in a row at most: its Jacobian takes 4 MB then in float32, and as much to factorise."""

BOLD = 100
"""Lines of a row that may end at any kink; all others end at the first, which is sure to lead to
the solution of a linear complementarity problem with a P-matrix."""


@dataclass
class Tangents:
    """The line that each row is on, and f along it."""

    line: LineSearch
    image: Float[Tensor, "B D"]  # f at the last good point
    slope: Float[Tensor, "B D"]  # J d there
    bent: Int[Array, " B"]  # bad trials so far, on all lines


@dataclass(frozen=True, kw_only=True)
class Newton(Solver[Tangents]):
    """Newton's method, for states of at most 1024 numbers a row.

    A step costs D products with J', one more evaluation of f, and D^3 / 3 multiply-adds a row.
    Memory: 3 D states. A row where I - J is singular takes a Picard step.
    """

    unrollable: ClassVar[bool] = False
    takes_back: ClassVar[bool] = True

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Tangents:
        if z.shape[1] > LARGEST:
            raise ValueError(
                f"Newton holds D x D numbers a row, and this state has D = {z.shape[1]}, more "
                f"than {LARGEST}; use NewtonKrylov"
            )
        return Tangents(LineSearch.start(z), z, z, filled(0, rows_of(z)))

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Tangents
    ) -> tuple[Float[Tensor, "B D"], Tangents]:
        z, fz, running, weights = iterate.z, iterate.fz, iterate.running, iterate.weights
        line, g = memory.line, fz - z
        size = weighted_norms(g, weights)
        trial = line.judge(size)
        good, bad = trial.good & running, trial.bad & running
        d, slope, t = g, memory.slope, line.t
        if not known_none(good):
            _, j = jacobian(f.recordable(), z)
            f.counts.products += z.shape[1]
            d, product = _newton_step(j, g), _times(j)
            slope = choose_rows(trial.good, product(d), slope)
        elif not known_none(bad):
            _, product = jvp(f.recordable(), z)
            f.counts.products += 1
        if not known_none(bad):
            t = _at_a_kink(memory, fz, product(line.d), line.shorter(size), weights)
        z_next, line = line.follow(trial, z, fz, d, t)
        image = choose_rows(trial.good, fz, memory.image)
        return z_next, Tangents(line, image, slope, memory.bent + trial.bad)


def _newton_step(j: Float[Tensor, "B D D"], g: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Return (I - J)^-1 g, or g in rows where there is no such thing."""
    work = torch.promote_types(g.dtype, torch.float32)
    unit = torch.eye(g.shape[1], dtype=work, device=g.device)
    # A row with nan or inf is kept from the factorisation, some of which never end on it.
    finite = j.isfinite().all(dim=(1, 2)) & g.isfinite().all(dim=1)
    system = torch.where(finite[:, None, None], unit - j.to(work), unit)
    d, info = torch.linalg.solve_ex(system, g.to(work))
    solved = finite & (info == 0) & d.isfinite().all(dim=1)
    return torch.where(solved[:, None], d.to(g.dtype), g)


def _at_a_kink(
    memory: Tangents,
    end: Float[Tensor, "B D"],
    slope: Float[Tensor, "B D"],
    otherwise: Float[Array, " B"],
    weights: Tensor | None,
) -> Float[Array, " B"]:
    """Return t just beyond a kink of f between the good point and a bad trial.

    Args:
        memory: f is image + t slope near the good point.
        end: f at the trial.
        slope: How fast f changes along d there.
        otherwise: The answer for rows without a kink.
        weights: What brings blocks of different scales to one.
    """
    line, start = memory.line, memory.image
    tried, fallback = (as_tensor(t).to(end)[:, None] for t in (line.t, otherwise))
    kinks = (end - tried * slope - start) / (memory.slope - slope)
    kinks = torch.where((kinks > 0) & (kinks < tried), kinks, torch.inf)  # also for 0 / 0
    # The first, second, third, fifth, ninth and so on: enough to choose from. Beyond it, so that
    # the next Jacobian is that of the other side.
    ranks = [0, *(2**k for k in range(end.shape[1].bit_length()) if 2**k < end.shape[1])]
    some = kinks.sort(dim=1).values[:, ranks] + torch.finfo(end.dtype).eps ** 0.5 * tried
    some = torch.where(some < tried, some, fallback)
    t, kinks = some[:, None], kinks[:, :, None]
    before = start[:, :, None] + t * memory.slope[:, :, None]
    after = end[:, :, None] + (t - tried[:, :, None]) * slope[:, :, None]
    g = torch.where(t < kinks, before, after) - line.z[:, :, None] - t * line.d[:, :, None]
    least = (g if weights is None else g * weights[:, :, None]).norm(dim=1).argmin(dim=1)
    bold = same_kind(memory.bent < BOLD, least)
    rank = torch.where(bold, least, 0)[:, None]
    return where_known(some.gather(1, rank)[:, 0].double(), otherwise)


def _times(j: Float[Tensor, "B D D"]) -> Product:
    """Return v -> J v."""
    return lambda v: torch.einsum("bij,bj->bi", j, v)
