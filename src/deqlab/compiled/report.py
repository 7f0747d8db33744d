"""What is said of a compiled solve: while it is traced, and when it runs.

What cannot be compiled is refused in a sentence while torch.compile or torch.export traces. An
exception of ours that its tracer follows ends in an error of torch that says "Observed exception",
and the sentence somewhere below; raised behind the tracer's back, as torch's own error of use, it
begins with the sentence.

Rows that fail when the graph runs are reported in the words of `errors`, by an operator of its own,
for a graph holds neither a warning nor an exception.
"""

from collections.abc import Sequence
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch._library.effects import EffectType

from deqlab.errors import OnFailure
from deqlab.failures import report_failure
from deqlab.solution import Solution
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver
from deqlab.solvers.loop.verdicts import Verdicts
from deqlab.solvers.picard import Picard

HERE = "fixed_point in one graph (fullgraph=True, torch.export)"
ELSEWHERE = "compile without fullgraph=True, and the solve runs outside of the graph"


def check_supported(solver: Solver[Any], rows_independent: bool | Sequence[bool]) -> None:
    """Refuse an option that cannot be compiled."""
    if type(solver) not in (Picard, Anderson):
        refuse(
            f"{HERE} takes Picard and Anderson, not {type(solver).__name__}: choose one of these, "
            f"or {ELSEWHERE}"
        )
    if isinstance(solver, Anderson) and solver.window_dtype is not None:
        refuse(f"{HERE} keeps its window as it is: leave out window_dtype, or {ELSEWHERE}")
    if solver.record:
        refuse(f"{HERE} records no iterates: leave out record, or {ELSEWHERE}")
    if rows_independent is not False:
        refuse(f"{HERE} keeps all rows in the batch: leave out rows_independent, or {ELSEWHERE}")


def refuse(sentence: str) -> NoReturn:
    """Raise because something cannot be compiled.

    Raises:
        NotImplementedError: Always; or where torch's tracer of bytecode is at work, its UserError.
    """
    if torch.compiler.is_dynamo_compiling():
        _refuse_tracer(sentence)
    raise NotImplementedError(sentence)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _refuse_tracer(sentence: str) -> None:
    from torch._dynamo.exc import UserError, UserErrorType

    raise UserError(UserErrorType.INVALID_INPUT, sentence)


def report(verdicts: Verdicts, what: str, on_failure: OnFailure) -> None:
    """Make the graph raise, warn or stay silent if a row failed."""
    if on_failure == "ignore":
        return
    status, residual, tolerance = verdicts.status, verdicts.residual, verdicts.tolerance
    _report(status, residual, tolerance, verdicts.steps, what, on_failure)


def report_adjoint(
    status: Tensor,
    residual: Tensor,
    tolerance: Tensor,
    steps: Tensor,
    *,
    what: str,
    on_failure: str,
) -> None:
    """The same for an adjoint solve, whose steps are products."""
    if on_failure != "ignore":
        _report(status, residual, tolerance, steps, what, on_failure, True)


@torch.library.custom_op("deqlab::report", mutates_args=())
def _report(
    status: Tensor,
    residual: Tensor,
    tolerance: Tensor,
    steps: Tensor,
    what: str,
    on_failure: str,
    is_linear: bool = False,
) -> None:
    solution = Solution(
        value=None,
        # Copies: the graph goes on to use its memory, and the solution may be kept.
        residual=residual.clone(),
        tolerance=tolerance.clone(),
        status=status.clone(),
        steps=steps.clone(),
        evaluations=0 if is_linear else 1,
        trace=residual.new_empty((0, len(status))),
    )
    report_failure(solution, what=what, on_failure=cast("OnFailure", on_failure))


@_report.register_fake
def _(*_: object) -> None:
    return None


_report.register_effect(EffectType.ORDERED)  # to be run though nothing uses what it returns
