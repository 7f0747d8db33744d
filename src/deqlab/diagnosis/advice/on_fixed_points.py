"""What is said of fixed points: whether there are any, how many, and whether they attract."""

import math

import torch

from deqlab.diagnosis.findings import Finding, Rank
from deqlab.diagnosis.measurements import Measurements
from deqlab.diagnosis.wording import (
    counted,
    listed,
    middle_and_worst,
    samples,
    samples_of_none,
    two_digits,
    worst,
)
from deqlab.solvers.splitting import SplittingMethod

SLOW = 0.89
"""The spectral radius from which plain iteration needs more than 100 steps, the default limit, for
a tolerance of 1e-5."""

TURNS = math.pi / 18
"""How far from the real axis, as an angle, a leading eigenvalue counts as a rotation."""


def exists(measured: Measurements) -> Finding | None:
    """Whether every sample has a fixed point."""
    seen = measured.equilibria
    if seen is None:
        return None
    missing = (seen.count == 0).cpu() & ~_not_finite(measured)
    if not bool(missing.any()):
        return None
    if bool((missing & seen.degenerate.cpu()).any()):
        how = (
            "where f(z) - z becomes small J has the eigenvalue 1, as it has where iterates run off "
            "for ever, or where fixed points fill a line"
        )
    elif bool((missing & seen.ran_off.cpu()).any()):
        how = (
            "iterates run off, to where f(z) - z is small beside z itself, and not entry by entry "
            "beside the start"
        )
    else:
        least = seen.residual.cpu()[missing].min().item()
        how = (
            f"from {counted(seen.starts, 'start')} neither the solver nor Newton's method comes to "
            f"one, and |f(z) - z| stays above {least:.1e} of the size of the start"
        )
    return Finding(
        rank=Rank.ALARM,
        name="no-fixed-point",
        sentence=f"No fixed point was found for {samples_of_none(missing)}: {how}.",
        advice="Let f contract (nn.SpectralNorm, a factor below 1 on the feedback), or take a cell "
        "whose fixed point is proved (nn.MonotoneCell); without one a DEQ means nothing.",
    )


def solved(measured: Measurements) -> Finding | None:
    """Whether the diagnosed solver finds the fixed points that there are."""
    seen, runs = measured.equilibria, measured.solvers
    if seen is None or not runs:
        return None
    name, run = next(iter(runs.items()))
    missed = run.missed & (seen.count > 0).cpu()
    if not bool(missed.any()) or run.solver.rtol < 2 * measured.eps:
        return None  # no solver meets that
    able = [other for other, of in runs.items() if of.all_converged]
    repelled = missed & (seen.attracting == 0).cpu()
    why = f" The fixed point repels in {samples(repelled)}." if bool(repelled.any()) else ""
    advice = f"Take {able[0]}()" if able else "Raise max_steps and patience"
    limit = "after" if able else "in"
    return Finding(
        rank=Rank.ALARM,
        name="solver-fails",
        sentence=f"{name} does not converge for {samples(missed)} {limit} "
        f"{int(run.steps.max())} steps, though there is a fixed point.{why}",
        advice=f"{advice}, or let f contract more.",
    )


def several(measured: Measurements) -> Finding | None:
    """Whether there is more than one fixed point, and whether the answer hangs on the start."""
    seen = measured.equilibria
    if seen is None:
        return None
    many = (seen.count > 1).cpu()
    if not bool(many.any()):
        return None
    attracting = seen.attracting.cpu()
    depends = many & ~seen.agree.cpu()
    most = int(seen.count.max())
    attract = int(attracting[seen.count.cpu().argmax()])
    sentence = (
        f"f has several fixed points in {samples(many)}: {counted(seen.starts, 'start')} found "
        f"{most} of one sample, of which {attract} attract{'s' * (attract == 1)}."
    )
    if bool(depends.any()):
        return Finding(
            rank=Rank.WARNING,
            name="several-fixed-points",
            sentence=f"{sentence} Which one the solver finds hangs on the start in "
            f"{samples(depends)}.",
            advice="Keep the start fixed and say which one is meant, or make it the only one: "
            "constrain the weights (nn.SpectralNorm), or take a monotone cell.",
        )
    rank = Rank.WARNING if bool((attracting > 1).any()) else Rank.NOTE
    return Finding(
        rank=rank,
        name="several-fixed-points",
        sentence=f"{sentence} The solver finds the same one from every start.",
        advice="A warm start from far away may find another." if rank == Rank.WARNING else "",
    )


def repels(measured: Measurements) -> Finding | None:
    """Whether plain iteration leaves the fixed point that the solver finds."""
    seen = measured.equilibria
    if seen is None or measured.j_is_wrong:
        return None
    radius = seen.eigenvalue.abs().cpu()
    unstable = radius > 1  # false for nan
    if not bool(unstable.any()):
        return None
    place, largest = worst(radius)
    proved = any(of.holds and of.unique for of in measured.certificates.values())
    able = [f"{name}()" for name, run in measured.solvers.items() if run.all_converged]
    finders = f"{listed(able)} find it all the same. " if able else ""
    return Finding(
        rank=Rank.NOTE if proved else Rank.WARNING,
        name="repelling",
        sentence=f"The fixed point is unstable, it repels, in {samples(unstable)}: the spectral "
        f"radius of J is {largest:.3g} (sample {place}), and plain iteration leaves it."
        + (" It is proved to be the only one all the same." if proved else ""),
        advice=""
        if proved
        else f"{finders}Where f is a dynamics, it is no rest state; let f contract if it shall be.",
    )


def slow(measured: Measurements) -> Finding | None:
    """Whether f contracts slowly, or turns while it does."""
    seen = measured.equilibria
    if seen is None or measured.j_is_wrong or not measured.solvers:
        return None
    leading = seen.eigenvalue.cpu()
    radius = leading.abs()
    near = (radius >= SLOW) & (radius < 1)
    if not bool(near.any()):
        return None
    name, run = next(iter(measured.solvers.items()))
    place, largest = worst(torch.where(near, radius, torch.nan))
    angle = abs(math.atan2(leading[place].imag, leading[place].real))
    needed = math.log(max(run.solver.rtol, 1e-12)) / math.log(largest)
    turns = TURNS < angle < math.pi - TURNS
    how = f"turns by {math.degrees(angle):.0f} degrees a step" if turns else "contracts slowly"
    proved = any(of.holds and of.unique for of in measured.certificates.values())
    spares = proved or isinstance(run.solver, SplittingMethod)
    return Finding(
        rank=Rank.NOTE if spares else Rank.WARNING,
        name="rotation" if turns else "slow-contraction",
        sentence=f"f {how} in {samples(near)}: the {'complex ' if turns else ''}leading eigenvalue "
        f"of J has modulus {largest:.4g} (sample {place}). Plain iteration needs about "
        f"{two_digits(needed)} steps for rtol {run.solver.rtol:.0e}, and an error is up to "
        f"{1 / (1 - largest):.0f} times its residual; {name} took {int(run.steps.max())} steps.",
        advice="Keep an accelerated solver, and ask for a smaller rtol where the answer must be "
        "accurate; a one-step gradient is far off here.",
    )


def attracts(measured: Measurements) -> Finding | None:
    """The spectral radius by sample, where no other finding has said it."""
    seen = measured.equilibria
    if seen is None or measured.j_is_wrong:
        return None
    radius = seen.eigenvalue.abs().cpu()
    there = ~_not_finite(measured)
    if not bool(((seen.count == 1).cpu() & (radius < SLOW))[there].all()) or not bool(there.any()):
        return None
    return Finding(
        rank=Rank.NOTE,
        name="attracting",
        sentence=f"One fixed point a sample from {counted(seen.starts, 'start')}, and it attracts: "
        f"the spectral radius of J is {middle_and_worst(radius, '{:.3g}'.format)}.",
    )


def _not_finite(measured: Measurements) -> torch.Tensor:
    """Return which samples are not finite, as a mask over those that are measured."""
    seen = measured.equilibria
    assert seen is not None
    mask = torch.zeros(len(seen.count), dtype=torch.bool)
    if measured.finiteness is not None and len(mask) == measured.samples:
        mask[list(measured.finiteness.samples)] = True
    return mask
