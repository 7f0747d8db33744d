"""Options of torchdeq as a solver and a gradient of deqlab.

n iterations become n + 1 evaluations of f, the last of which the gradient is taken from; a
tolerance of the whole batch becomes one that every sample is held to; m stored iterates are m - 1
differences. With the steps that torchdeq takes after the solve, k = `grad` with damping `tau`:

    ift or hook_ift                       Implicit(solver=...)
    k = 1, tau = 1                        JacobianFree()
    otherwise                             Phantom(steps=k, damping=tau, unrolled=True)
    simple_fixed_point_iter, n steps      Loops(steps=n + k, differentiated=k)

The last is exact: both compute z_(n + k) from z_0 and differentiate its last k steps.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any, NamedTuple

from deqlab.arguments import check_count
from deqlab.compat.torchdeq.options import Config, Options, read
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.loops import Loops
from deqlab.gradients.phantom import JacobianFree, Phantom
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver
from deqlab.solvers.broyden import Broyden
from deqlab.solvers.picard import Picard

READ_BY = {
    "fixed_point_iter": ("tau",),
    "simple_fixed_point_iter": ("tau",),
    "anderson": ("m", "tau"),
    "broyden": ("LBFGS_thres",),
}
"""What each solver reads of `solver_kwargs`."""

REFUSED = {
    "lam": "it is an absolute weight, in the units of a squared residual, and Anderson.ridge of "
    "deqlab is relative to what it weighs: leave lam out",
    "ls": "Broyden of deqlab takes whole steps and restarts row by row: leave ls out, or take "
    "NewtonKrylov, which has a line search",
    "return_final": "a solve of deqlab returns the iterate that its verdict is about: leave it "
    "out, or take f_solver='simple_fixed_point_iter', which returns the last iterate",
}


class Translation(NamedTuple):
    """A solver and a gradient, as `fixed_point` and `DEQ` take them."""

    solver: Solver[Any]
    gradient: Gradient

    @property
    def code(self) -> str:
        """The lines of Python that make both."""
        solvers = {type(self.solver).__name__}
        if isinstance(self.gradient, Implicit):
            solvers.add(type(self.gradient.solver).__name__)
        return (
            f"from deqlab.gradients import {type(self.gradient).__name__}\n"
            f"from deqlab.solvers import {', '.join(sorted(solvers))}\n\n"
            f"solver = {_expression(self.solver)}\n"
            f"gradient = {_expression(self.gradient)}\n"
        )


def translate(
    args: Config = None,
    *,
    training: bool = True,
    solver_kwargs: Mapping[str, Any] | None = None,
    **options: object,
) -> Translation:
    """Return what a set of options of torchdeq is in deqlab.

    With it the layer of this package can be left behind: `fixed_point(f, z0, solver=solver,
    gradient=gradient)`, or `DEQ(cell, solver=solver, gradient=gradient)`.

    Args:
        args: The options, as `get_deq` takes them.
        training: False for what a call in eval mode solves by.
        solver_kwargs: What is passed to a call of torchdeq's layer.
        options: Options by name, which go before `args`.

    Raises:
        TypeError: A name is none of torchdeq's.
        ValueError: A value is out of its domain, or has no counterpart.

    Example:
        >>> solver, gradient = translate(f_solver="anderson", f_tol=1e-4, f_stop_mode="rel")
        >>> gradient
        JacobianFree()
        >>> print(translate(f_solver="anderson", ift=True).code)
        from deqlab.gradients import Implicit
        from deqlab.solvers import Anderson, Picard
        <BLANKLINE>
        solver = Anderson(rtol=0.0, atol=0.001, max_steps=41)
        gradient = Implicit(solver=Picard(rtol=1e-06, max_steps=40))
        <BLANKLINE>
    """
    chosen = read(args, options)
    settings = checked_settings(chosen, solver_kwargs)
    iterations = settings.pop("f_max_iter", chosen.iterations(training=training))
    record = chosen.stops_within(iterations)[:-1] if training else ()
    return native(chosen, iterations, settings, training=training, record=record)


def native(
    options: Options,
    iterations: int,
    settings: Mapping[str, Any],
    *,
    training: bool,
    record: tuple[int, ...] = (),
) -> Translation:
    """Return the solver and the gradient for so many iterations.

    Args:
        options: The options.
        iterations: The limit on the iterations of this solve.
        settings: What of `solver_kwargs` the solver reads.
        training: Whether the layer is in train mode.
        record: Iterations after which `Solution.states` keeps the iterate.
    """
    solver = _forward(options, iterations, settings, tuple(stop + 1 for stop in record))
    return Translation(solver, _gradient(options, iterations, settings, training=training))


def checked_settings(options: Options, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `solver_kwargs` of a call.

    Raises:
        TypeError: The solver of torchdeq does not read one of them.
        ValueError: One has no counterpart here.
    """
    settings = dict(given or {})
    names = ("f_max_iter", *READ_BY[options.f_solver])
    for name in settings:
        if name in REFUSED:
            raise ValueError(f"solver_kwargs has {name}: {REFUSED[name]}")
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it reads {', '.join(names)}"
            raise TypeError(
                f"{options.f_solver} of torchdeq ignores {name} in solver_kwargs: {hint}"
            )
    settings = {name: value for name, value in settings.items() if value is not None}
    for name in ("f_max_iter", "LBFGS_thres", "m"):
        check_count(name, settings.get(name, 1))
    if settings.get("m") == 1:
        raise ValueError("m must be at least 2, for m - 1 differences, got 1")
    return settings


def _forward(
    options: Options, iterations: int, settings: Mapping[str, Any], record: tuple[int, ...]
) -> Solver[Any]:
    relative = options.f_stop_mode == "rel"
    # The evaluation that torchdeq takes its gradient from is here the one that ends the solve.
    evaluations = iterations + 1
    shared: dict[str, Any] = {
        "rtol": options.f_tol if relative else 0.0,
        "atol": 0.0 if relative else options.f_tol,
        "max_steps": evaluations,
        "record": record,
    }
    damping = settings.get("tau", 1.0)
    if options.f_solver == "anderson":
        return Anderson(**shared, memory=settings.get("m", 6) - 1, damping=damping)
    if options.f_solver == "broyden":
        return Broyden(**shared, memory=settings.get("LBFGS_thres", iterations))
    least = evaluations if options.f_solver == "simple_fixed_point_iter" else 1
    return Picard(**shared, min_steps=least, damping=damping)


def _gradient(
    options: Options, iterations: int, settings: Mapping[str, Any], *, training: bool
) -> Gradient:
    if options.exact:
        return Implicit(solver=_backward(options))
    steps, damping = options.grads[-1], settings.get("tau", 1.0)
    if options.f_solver == "simple_fixed_point_iter":
        if not training:
            return Loops(steps=iterations, differentiated=steps, damping=damping)
        if damping == options.tau and not options.samples_steps:
            return Loops(steps=iterations + steps, differentiated=steps, damping=damping)
    if steps == 1 and options.tau == 1:
        return JacobianFree()
    return Phantom(steps=steps, damping=options.tau, unrolled=True)


def _backward(options: Options) -> Solver[Any]:
    # Relative in both modes: the scale of a loss is arbitrary, and its mean over a large batch
    # would be within any absolute tolerance before the first step.
    rtol, iterations = options.b_tol, options.b_max_iter
    if options.b_solver == "anderson":
        return Anderson(rtol=rtol, max_steps=iterations)
    if options.b_solver == "broyden":
        return Broyden(rtol=rtol, max_steps=iterations, memory=iterations)
    return Picard(rtol=rtol, max_steps=iterations)


def _expression(settings: Any) -> str:  # noqa: ANN401
    """Return the expression that makes a value, without what is default."""
    parts: list[str] = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.default is MISSING or value != field.default:
            shown = _expression(value) if isinstance(value, Solver) else repr(value)
            parts.append(f"{field.name}={shown}")
    return f"{type(settings).__name__}({', '.join(parts)})"
