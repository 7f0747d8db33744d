"""`diagnose`: run every probe on one map, and say what they mean."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from deqlab.arguments import check_count
from deqlab.diagnosis.advice.order import findings_of
from deqlab.diagnosis.asked import subject_of
from deqlab.diagnosis.findings import Diagnosis
from deqlab.diagnosis.measurements import Measurements
from deqlab.diagnosis.probes.cost import cost
from deqlab.diagnosis.probes.coupling import coupling
from deqlab.diagnosis.probes.derivatives import derivatives
from deqlab.diagnosis.probes.equilibria import Equilibria, equilibria
from deqlab.diagnosis.probes.finiteness import finiteness
from deqlab.diagnosis.probes.gradients import gradient_errors
from deqlab.diagnosis.probes.inputs import hidden_gradients
from deqlab.diagnosis.probes.repeatability import repeatability
from deqlab.diagnosis.probes.solvers import rivals, run_of
from deqlab.diagnosis.probes.tolerance import sensitivity
from deqlab.diagnosis.probes.warm_starts import warm_start
from deqlab.diagnosis.restoring import left_as_it_was
from deqlab.diagnosis.subject import DiagnosisError, Problem, Subject
from deqlab.gradients.base import Gradient
from deqlab.nn.deq import DEQ
from deqlab.nn.equation import unwrapped
from deqlab.own.target import first_line
from deqlab.solvers.base import Solver
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.asking import certify

T = TypeVar("T")


def diagnose(
    f: Callable[..., Any],
    *inputs: Any,  # noqa: ANN401, whatever f takes
    z0: Any = None,  # noqa: ANN401, a state
    solver: Solver[Any] | None = None,
    gradient: Gradient | None = None,
    rtol: float | None = None,
    batched: bool | None = None,
    layer: str | None = None,
    starts: int = 4,
    seed: int = 0,
    name: str | None = None,
) -> Diagnosis:
    """Say what is the matter with a map f(z, x), or with a DEQ, at one batch.

    It is taken in the mode that it is in, train or eval, and left as it was: buffers and torch's
    random numbers are what they were before. The batch should be a typical one; a few samples do.

    Args:
        f: A function or module called as f(z, *inputs); a `DEQ`; or a model that contains one,
            called as f(*inputs).
        inputs: What f takes beside z.
        z0: Where to start; None is where the cell or the layer does, or else zeros in the shape of
            the first input.
        solver: The solver that is diagnosed; None is that of the DEQ, or `Anderson()`.
        gradient: Likewise; None is that of the DEQ, or `Implicit()`.
        rtol: Another tolerance of the solver; None is its own.
        batched: Whether rows are samples; None is as in the DEQ, or else True.
        layer: Which of several DEQ layers, by its path in the model.
        starts: How many random starts look for fixed points, beside its own; 0 or more.
        seed: Of the random starts, cotangents and moved inputs.
        name: What to call it; None is its own name.

    Returns:
        The findings, the most important first, and the measurements behind them. As a text it
        reads as a report.

    Raises:
        DiagnosisError: f cannot run on this batch, or there is nothing to diagnose.

    Example:
        >>> import torch
        >>> print(diagnose(lambda z, x: z + 1, torch.zeros(4, 3)).findings[0].name)
        no-fixed-point
    """
    check_count("starts", starts, least=0)
    with left_as_it_was(f, inputs):
        subject = subject_of(
            f,
            inputs,
            z0=z0,
            layer=layer,
            solver=solver,
            gradient=gradient,
            rtol=rtol,
            batched=batched,
            name=name,
        )
        measured = _measured(subject, starts=starts, seed=seed)
    return Diagnosis(name=subject.name, findings=findings_of(measured), measurements=measured)


def _measured(subject: Subject, *, starts: int, seed: int) -> Measurements:
    """Run the probes, each on what those before it left standing."""
    problem = _begun(subject)
    samples, size = problem.z0.shape
    dtype = problem.f.lowered or problem.z0.dtype
    measured = Measurements(
        samples=samples,
        size=size,
        dtype=str(dtype).removeprefix("torch."),
        eps=torch.finfo(dtype).eps,
    )
    measured.certificates = _certificates(subject)
    measured.repeatability = repeatability(problem)
    if not measured.repeatability.is_a_map:
        return measured
    attempt = _Attempts(measured)
    measured.coupling = attempt("coupled rows", lambda: coupling(problem))
    solution = problem.solve(subject.solver, problem.z0)
    measured.finiteness = finiteness(problem, subject.inputs, solution)
    if measured.coupling is not None and measured.coupling.coupled:
        subject = subject.as_one_sample()
        problem = _begun(subject)
    _measure_solves(attempt, subject, problem, starts=starts, seed=seed)
    return measured


def _measure_solves(
    attempt: "_Attempts", subject: Subject, problem: Problem, *, starts: int, seed: int
) -> None:
    """Run the probes that solve."""
    measured, solver = attempt.measured, subject.solver
    found = attempt("fixed points", lambda: equilibria(problem, solver, starts, seed))
    measured.equilibria = found
    measured.derivatives = attempt(
        "derivatives", lambda: derivatives(problem, _present(problem, found), seed)
    )
    measured.hidden = attempt(
        "derivatives by inputs and parameters",
        lambda: hidden_gradients(subject, problem, _present(problem, found), seed),
    )
    there_is_one = found is None or bool((found.count > 0).any())
    for name, rival in rivals(solver).items():
        # Where there is no fixed point the others look for it in vain.
        run = attempt(name, partial(run_of, problem, rival))
        if run is not None:
            measured.solvers[name] = run
        if rival is solver and (run is None or not there_is_one):
            return
    own = next(iter(measured.solvers.values()))
    if not bool(own.converged.any()):
        return  # there is nothing to differentiate, and no answer that could change
    if found is not None and not measured.j_is_wrong:
        measured.gradients = attempt(
            "the gradient",
            lambda: gradient_errors(problem, solver, subject.gradient, found.value, seed),
        )
    measured.cost = attempt("cost", lambda: cost(problem, own, measured.gradients))
    measured.tolerance = attempt("the tolerance", lambda: sensitivity(problem, own))
    measured.warm_start = attempt("warm starts", lambda: warm_start(subject, own, seed))


def _hint(subject: Subject) -> str:
    """Return what may be amiss where f cannot be evaluated at its start."""
    f = subject.asked
    cell = f.cell if isinstance(f, DEQ) else f
    if subject.z0 is not None:
        return "look at the shapes of z0 and the inputs"
    if hasattr(unwrapped(cell), "initial"):
        return "the state is what f starts with: look at the shapes of the inputs"
    if isinstance(cell, nn.Module) and not _takes_two(cell):
        return (
            f"{type(cell).__name__} contains no DEQ layer, so that it was called as f(z, x), the "
            "map of a DEQ: diagnose a model that contains one, or such a map"
        )
    return (
        "look at the shapes of the inputs: the state was taken to have that of the first; if it "
        "has another one, give a start (z0= in Python, --z0-shape on the command line)"
    )


def _takes_two(module: nn.Module) -> bool:
    """Return whether a module can be called as f(z, x)."""
    try:
        inspect.signature(module.forward).bind(None, None)
    except TypeError:
        return False
    return True


def _present(problem: Problem, found: Equilibria | None) -> Tensor:
    """Return the fixed points, and the start where there is none."""
    if found is None:
        return problem.z0
    return torch.where(found.value.isfinite().all(dim=1, keepdim=True), found.value, problem.z0)


class _Attempts:
    """Runs probes, and keeps why one came to no end: the others go on."""

    def __init__(self, measured: Measurements) -> None:
        self.measured = measured

    def __call__(self, name: str, probe: Callable[[], T]) -> T | None:
        try:
            return probe()
        except Exception as error:  # whatever a map of the user's raises
            self.measured.unmeasured[name] = first_line(error)
            return None


def _begun(subject: Subject) -> Problem:
    """Return the problem, after f was evaluated twice: then what it writes has shown.

    Raises:
        DiagnosisError: f raises, or does not return a state like the one it was given.
    """
    problem = subject.problem()
    if not len(problem.z0):
        raise DiagnosisError(f"{subject.name}: the batch has no samples")
    try:
        for _ in range(2):
            problem.at(problem.z0)
    except Exception as error:
        shapes = [tuple(shape) for shape in problem.layout.shapes]
        raise DiagnosisError(
            f"{subject.name} cannot be evaluated at a state of shape "
            f"{', '.join(map(str, shapes))}: {first_line(error)}; {_hint(subject)}"
        ) from error
    return problem


def _certificates(subject: Subject) -> dict[str, Certificate]:
    """Return what is proved of the map; nothing of a plain function."""
    try:
        return certify(subject.asked)
    except TypeError:
        return {}
