"""What cannot be compiled, and the sentences that say so.

They are spoken while torch.compile or torch.export traces. An exception of ours that its tracer
follows ends in an error of torch that says "Observed exception", and the sentence somewhere below;
raised behind the tracer's back, as torch's own error of use, it begins with the sentence.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

import torch

from deqlab.solvers import Anderson, Picard, Solver

HERE = "fixed_point in one graph (fullgraph=True, torch.export)"
ELSEWHERE = "compile without fullgraph=True, and the solve runs outside of the graph"


def check_supported(solver: Solver[Any], rows_independent: bool | Sequence[bool]) -> None:
    """Refuse an option that cannot be compiled."""
    if type(solver) not in (Picard, Anderson):
        refuse(
            f"{HERE} takes Picard and Anderson, not {type(solver).__name__}: choose one of these, "
            f"or {ELSEWHERE}"
        )
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
