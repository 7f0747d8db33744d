"""What the measurements of solves mean: gradients, tolerances, solvers, cost, warm starts."""

from deqlab.diagnosis.findings import Finding, Rank
from deqlab.diagnosis.measurements import Measurements
from deqlab.diagnosis.probes.solvers import SolverRun
from deqlab.diagnosis.wording import (
    counted,
    listed,
    middle,
    middle_and_worst,
    percent,
    samples,
    seconds,
    worst,
)

BIASED, MISLEADING = 0.1, 0.7
"""The relative error from which a gradient is called biased, and the cosine, that of 45 degrees,
below which it leads elsewhere."""

SENSITIVE = 0.01
"""The relative change from which an answer hangs on the tolerance, or ten times the tolerance."""

FASTER = 1.5
"""From how many times the time of the best solver another one is advised."""

SAME_POINT = 0.1
"""How near, relative to its size, two solvers come that find the same point."""


def gradient(measured: Measurements) -> Finding | None:
    """The true error of the chosen gradient."""
    seen = measured.gradients
    if seen is None:
        return None
    if seen.unmeasured:
        text = f"The gradient {seen.chosen} was not compared: {seen.unmeasured}."
        return Finding(rank=Rank.NOTE, name="gradient", sentence=text)
    own = seen.by_name[seen.chosen]
    error, cosine = middle(own.error), middle(own.cosine)
    if error != error:  # no sample has both a fixed point and a gradient
        return None
    told = (
        f"of {seen.chosen} is {middle_and_worst(own.error, percent)}, and its cosine to the true "
        f"one is {cosine:.3g}"
    )
    if error <= BIASED:
        text = f"The true error of the gradient {told}, against {seen.reference}."
        return Finding(rank=Rank.NOTE, name="gradient", sentence=text)
    better = [
        f"{name}() {percent(middle(other.error))}"
        for name, other in seen.by_name.items()
        if middle(other.error) < error / 2
    ]
    # Who has the exact gradient, and it is far off, has a solve that is not accurate enough.
    advice = f"Errors of others: {listed(better)}." if better else "Ask for smaller tolerances."
    return Finding(
        rank=Rank.ALARM if cosine < MISLEADING else Rank.WARNING,
        name="gradient-bias",
        sentence=f"The gradient is biased: the true error {told}, against {seen.reference}.",
        advice=advice,
    )


def tolerance(measured: Measurements) -> Finding | None:
    """How much the answer hangs on the tolerance."""
    seen = measured.tolerance
    if seen is None or not bool((seen.change == seen.change).any()):
        return None
    changes = bool(seen.change.nan_to_num(0).any())
    by = f"changes by {middle_and_worst(seen.change, percent)}" if changes else "does not change"
    text = f"From rtol {seen.rtol:.0e} to {seen.tighter:.0e} the state {by}"
    sensitive = worst(seen.change)[1] > max(SENSITIVE, 10 * seen.rtol)
    return Finding(
        rank=Rank.WARNING if sensitive else Rank.NOTE,
        name="tolerance-sensitive" if sensitive else "tolerance",
        sentence=f"{text}, at {counted(seen.evaluations, 'evaluation')}.",
        advice="The tolerance is too loose for this f: ask for less." if sensitive else "",
    )


def precise(measured: Measurements) -> Finding | None:
    """Whether the dtype resolves the tolerance."""
    runs = measured.solvers
    if not runs:
        return None
    name, run = next(iter(runs.items()))
    least = 2 * measured.eps
    if run.solver.rtol >= least or run.all_converged:
        return None
    return Finding(
        rank=Rank.ALARM,
        name="precision",
        sentence=f"rtol {run.solver.rtol:.0e} is below what {measured.dtype} resolves, "
        f"{least:.1g}: {name} misses it for {samples(run.missed)}.",
        advice="Ask for a larger rtol, or keep the state in float32.",
    )


def solver_choice(measured: Measurements) -> Finding | None:
    """Which solver is best here, as measured."""
    runs = measured.solvers
    if not runs:
        return None
    name, own = next(iter(runs.items()))
    able = {label: run for label, run in runs.items() if run.all_converged}
    there = measured.equilibria is None or bool((measured.equilibria.point >= 0).any())
    if not able or not there:
        return None
    same = {label: run for label, run in able.items() if _agree(own, run)}
    rivals = same if own.all_converged else able
    best = min(rivals, key=lambda label: rivals[label].seconds)
    if name in able and own.seconds < FASTER * rivals[best].seconds:
        advice = f"{name}() is a good choice here."
    else:
        advice = f"{best}() takes the least time of those that find every sample."
    told = "; ".join(_told(label, run) for label, run in runs.items())
    return Finding(
        rank=Rank.NOTE, name="solvers", sentence=f"Solvers on this f: {told}.", advice=advice
    )


def _told(label: str, run: SolverRun) -> str:
    if not run.all_converged:
        return f"{label} fails for {samples(run.missed, of=int(run.counted.sum()))}"
    products = f" and {counted(run.products, 'product')}" if run.products else ""
    return f"{label} {counted(run.evaluations, 'evaluation')}{products}, {seconds(run.seconds)}"


def _agree(one: SolverRun, other: SolverRun) -> bool:
    """Return whether two runs ended in the same points."""
    far = (one.value - other.value).norm(dim=1)
    near = far <= SAME_POINT * one.value.norm(dim=1).clamp_min(1e-30)
    return bool(near[one.counted.to(near.device)].all())


def cost(measured: Measurements) -> Finding | None:
    """What a step costs, and of what."""
    seen = measured.cost
    if seen is None:
        return None
    parts = [
        f"{name} {value / seen.step:.0%}"
        for name, value in sorted(seen.parts.items(), key=lambda part: -part[1])
    ]
    products = "" if seen.products is None else f" and {counted(seen.products, 'product')} with J'"
    operations = f", {seen.flops / 1e6:.3g} MFLOPs" if seen.flops else ""
    picard = measured.solvers.get("Picard")
    least = ", and Picard() does the least beside f" if picard and picard.all_converged else ""
    heavy = seen.parts["the solver's own work"] > seen.step / 2
    return Finding(
        rank=Rank.NOTE,
        name="cost",
        sentence=f"A step takes {seconds(seen.step)}, with "
        f"{counted(seen.evaluations, 'evaluation')} of f{products}: {listed(parts)}. One "
        f"evaluation takes {seconds(seen.evaluation)}{operations}.",
        advice="f is so cheap that the solver's own work is most of it: a larger batch costs "
        f"little more{least}."
        if heavy
        else "",
    )


def certificate(measured: Measurements) -> Finding | None:
    """What is proved."""
    holding = {name: of for name, of in measured.certificates.items() if of.holds}
    if holding:
        name, of = next(iter(holding.items()))
        what = "one fixed point for every input" if of.unique else "a fixed point for every input"
        rate = "" if of.rate is None else f"; plain iteration contracts by {of.rate:.3g} a step"
        margin = "" if of.margin != of.margin else f"; margin {of.margin:.3g}"
        text = f"Proved of {name}: {what} ({of.theorem}{margin}{rate})."
        return Finding(rank=Rank.NOTE, name="certificate", sentence=text)
    if not measured.certificates:
        return None
    name, of = next(iter(measured.certificates.items()))
    return Finding(
        rank=Rank.NOTE,
        name="no-certificate",
        sentence=f"Nothing is proved of {name}: {of.theorem.rstrip('.')}. All here is measured, at "
        "this batch.",
    )


def warm_starts(measured: Measurements) -> Finding | None:
    """What a warm start saves."""
    seen = measured.warm_start
    if seen is None:
        return None
    saves = seen.warm < 0.8 * seen.cold
    return Finding(
        rank=Rank.NOTE,
        name="warm-start",
        sentence=f"At inputs that moved by 1 % a warm start takes {seen.warm:.1f} steps where a "
        f"cold one takes {seen.cold:.1f}.",
        advice="Where inputs follow each other, pass the last value as z0." if saves else "",
    )


def unmeasured(measured: Measurements) -> Finding | None:
    """What could not be measured, and why."""
    if not measured.unmeasured:
        return None
    reasons = [f"{name} ({why})" for name, why in measured.unmeasured.items()]
    return Finding(
        rank=Rank.WARNING,
        name="unmeasured",
        sentence=f"Not measured, for f or a method failed there: {listed(reasons)}.",
    )
