"""Fixed points from several starts: how many there are, and whether they attract.

From each start three methods look for one: the solver that is diagnosed, Newton-Krylov, which finds
those as well that repel, and Picard iteration, which leaves them. What they end in is solved on to
rounding by Newton-Krylov. The points are told apart sample by sample, and at each J is looked at.

That f(z) - z is small does not make a fixed point. An iterate may run off with steps that become
small, as that of z + exp(-z) does. Then solving on leads far away, or J comes to have the
eigenvalue 1, as it has where fixed points fill a line: there a small residual tells nothing. Or
one entry runs off alone, and beside it those of f(z) - z that are not small at all look small. So
each entry is judged by itself, and none that is too large to be resolved makes a fixed point.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Complex128, Float, Int
from torch import Tensor

from deqlab.diagnosis.probes.places import SAME, Places
from deqlab.diagnosis.probes.rounding import NEAREST, TIGHT, eps_of, small_everywhere, tight
from deqlab.diagnosis.subject import Problem
from deqlab.solution import Solution
from deqlab.solvers.base import Solver
from deqlab.solvers.newton_krylov import NewtonKrylov
from deqlab.solvers.picard import Picard
from deqlab.stability.spectral import leading_eigenvalue

SIZES = (1.0, 3.0)
"""Of random starts, in turn, relative to the state that the first solve ends in."""

NO_ONE = TIGHT / SAME
"""How near 1 an eigenvalue is, in units of eps, where a residual that is solved to rounding leaves
an error of more than SAME."""

NEWTON_STEPS = 40
"""Of Newton-Krylov from each start: it converges in a few, or comes nowhere."""

RUNS_OFF = 0.1
"""How far, relative to its size, a converged iterate may be from the fixed point beside it."""


@dataclass(frozen=True, kw_only=True)
class Equilibria:
    """The fixed points of each sample that were found.

    Attributes:
        starts: From how many starts.
        points: They themselves, (R, B, D), nan where a sample has fewer.
        eigenvalues: The leading eigenvalue of J at each; nan likewise.
        isolated: Whether each is a fixed point that stands alone; false where there is none.
        ends: Which of them the diagnosed solver came to, from each start, (starts, B); -1 for none.
        residual: The least |f(z) - z| of each sample at any end, relative to the size of the start.
        ran_off: Whether a solve of the sample ended in a point whose residual is small beside the
            point only, for entries of it ran off.
    """

    starts: int
    points: Float[Tensor, "R B D"]
    eigenvalues: Complex128[Tensor, "R B"]
    isolated: Bool[Tensor, "R B"]
    ends: Int[Tensor, "S B"]
    residual: Float[Tensor, " B"]
    ran_off: Bool[Tensor, " B"]

    @property
    def count(self) -> Int[Tensor, " B"]:
        """How many fixed points each sample has."""
        return self.isolated.sum(dim=0)

    @property
    def attracting(self) -> Int[Tensor, " B"]:
        """How many of them attract."""
        return (self.isolated & (self.radius < 1)).sum(dim=0)

    @property
    def degenerate(self) -> Bool[Tensor, " B"]:
        """Whether each sample has points where f(z) - z is small that do not stand alone."""
        return (self.eigenvalues.isfinite() & ~self.isolated).any(dim=0)

    @property
    def radius(self) -> Float[Tensor, "R B"]:
        """The spectral radius of J at each point; nan where there is none."""
        return self.eigenvalues.abs()

    @property
    def point(self) -> Int[Tensor, " B"]:
        """The point that the diagnosed solver finds from its own start; -1 for none."""
        return self.ends[0]

    @property
    def eigenvalue(self) -> Complex128[Tensor, " B"]:
        """The leading eigenvalue at that point; nan where there is none."""
        return self._at(self.eigenvalues, complex(torch.nan, 0))

    @property
    def value(self) -> Float[Tensor, "B D"]:
        """That point; nan where there is none."""
        rows = torch.arange(len(self.count), device=self.points.device)
        if not len(self.points):
            return self.points.new_full(self.points.shape[1:], torch.nan)
        found = self.points[self.point.clamp_min(0), rows]
        return torch.where((self.point >= 0)[:, None], found, torch.nan)

    @property
    def agree(self) -> Bool[Tensor, " B"]:
        """Whether the diagnosed solver comes to the same point from every start."""
        return (self.ends == self.ends[0]).all(dim=0) & (self.point >= 0)

    def _at(self, of: Tensor, nothing: complex) -> Tensor:
        rows = torch.arange(len(self.count), device=of.device)
        if not len(of):
            return of.new_full((len(self.count),), nothing)
        return torch.where(self.point >= 0, of[self.point.clamp_min(0), rows], nothing)


def equilibria(problem: Problem, solver: Solver[Any], starts: int, seed: int) -> Equilibria:
    """Look for fixed points.

    Args:
        problem: The problem.
        solver: The solver that is diagnosed.
        starts: How many random starts, beside its own.
        seed: Of the random starts.
    """
    own = problem.solve(solver, problem.z0)
    size, unit = _sizes(problem, own)
    places = Places(problem.z0, size, same=max(SAME, 10 * eps_of(problem)))
    ends, least = [], torch.full_like(size, torch.inf)
    ran_off = torch.zeros_like(size, dtype=torch.bool)
    for number, begin in enumerate([problem.z0, *_starts(problem, size, starts, seed)]):
        # The diagnosed solver comes last: what the others found first is then one of its own.
        solves = [problem.solve(other, begin) for other in _others(problem, solver)]
        solves.append(problem.solve(solver, begin) if number else own)
        for each in solves:
            point, settled = _solved_on(problem, each, size)
            sound = settled & small_everywhere(problem, point, unit)
            ran_off |= settled & ~sound
            end = places.add(point, sound)
            least = torch.fmin(least, each.residual.to(size) / unit)
        ends.append(end)
    points = places.points()
    eigenvalues = _eigenvalues(problem, points, own.matrix, seed)
    near = min(NO_ONE * eps_of(problem), NEAREST)
    isolated = eigenvalues.isfinite() & ((eigenvalues - 1).abs() > near)
    return Equilibria(
        starts=len(ends),
        points=points,
        eigenvalues=eigenvalues,
        isolated=isolated,
        ends=_of_isolated(torch.stack(ends), isolated),
        residual=least,
        ran_off=ran_off,
    )


def _others(problem: Problem, solver: Solver[Any]) -> list[Solver[Any]]:
    """Return the methods that look for fixed points beside the one that is diagnosed."""
    rtol, most = tight(problem), max(solver.max_steps, 100)
    return [
        NewtonKrylov(rtol=rtol, max_steps=NEWTON_STEPS),
        Picard(rtol=solver.rtol, max_steps=most),
    ]


def _of_isolated(ends: Int[Tensor, "S B"], isolated: Bool[Tensor, "R B"]) -> Int[Tensor, "S B"]:
    """Return -1 in place of points that do not stand alone."""
    if not len(isolated):
        return ends
    return torch.where(isolated.gather(0, ends.clamp_min(0)), ends, -1)


def _starts(
    problem: Problem, size: Float[Tensor, " B"], count: int, seed: int
) -> list[Float[Tensor, "B D"]]:
    """Return random starts of about the size of the state."""
    random, z0 = torch.Generator().manual_seed(seed), problem.z0
    scale = (size / max(z0.shape[1], 1) ** 0.5)[:, None]
    drawn = [torch.randn(z0.shape, generator=random, dtype=torch.float64) for _ in range(count)]
    return [SIZES[i % len(SIZES)] * scale * each.to(z0) for i, each in enumerate(drawn)]


def _sizes(problem: Problem, own: Solution) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Return the size of the state of each sample, and that of its start.

    The first is that of the end of the solve as well, if it has one: where there is none, iterates
    may have run off.
    """
    start = torch.maximum(_norms(problem.z0), _norms(problem.at(problem.z0)).nan_to_num(0, 0, 0))
    start = torch.where(start > 0, start, problem.z0.shape[1] ** 0.5)
    end = torch.where(own.converged.to(start.device), _norms(own.matrix), 0.0)
    return torch.maximum(start, end), start


def _solved_on(
    problem: Problem, solution: Solution, size: Float[Tensor, " B"]
) -> tuple[Float[Tensor, "B D"], Bool[Tensor, " B"]]:
    """Return what a solve ended in, solved on to rounding, and whether it is a fixed point."""
    end = solution.matrix
    converged = solution.converged.to(end.device)
    if not bool(converged.any()):
        return end, converged
    on = problem.solve(NewtonKrylov(rtol=tight(problem), max_steps=30), end)
    # One that comes no nearer is as near as the dtype allows.
    nearer = (on.residual <= solution.residual).to(end.device)
    point = torch.where(nearer[:, None], on.matrix, end)
    scale = torch.maximum(_norms(end), size)
    return point, converged & (_norms(point - end) <= RUNS_OFF * scale)


def _eigenvalues(
    problem: Problem, points: Float[Tensor, "R B D"], filler: Float[Tensor, "B D"], seed: int
) -> Complex128[Tensor, "R B"]:
    """Return the leading eigenvalue of J at each point."""
    found = []
    for some in points:
        present = some.isfinite().all(dim=1)
        # Where there is no point any other will do, which keeps rows that f couples finite.
        z = torch.where(present[:, None], some, filler)
        random = torch.Generator(device=z.device).manual_seed(seed)
        leading = leading_eigenvalue(problem.map, z, generator=random)
        found.append(torch.where(present, leading, complex(torch.nan, 0.0)))
    if not found:
        return torch.empty(0, points.shape[1], dtype=torch.complex128, device=points.device)
    return torch.stack(found)


def _norms(matrix: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    norms: Tensor = torch.linalg.vector_norm(matrix, dim=1)
    return norms
