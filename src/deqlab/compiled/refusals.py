"""What cannot be compiled, and the sentences that say so.

They are spoken while torch.compile traces; with fullgraph=True they stand in torch's own error.
"""

from collections.abc import Sequence
from typing import Any

import torch

from deqlab.solvers import Anderson, Picard, Solver

ELSEWHERE = "call fixed_point outside of the compiled region (torch.compiler.disable)"


def check_supported(solver: Solver[Any], rows_independent: bool | Sequence[bool]) -> None:
    """Raise NotImplementedError if an option cannot be compiled."""
    if not torch.compiler.is_dynamo_compiling():
        raise NotImplementedError("fixed_point under torch.export needs strict=True")
    if type(solver) not in (Picard, Anderson):
        raise NotImplementedError(
            f"fixed_point under torch.compile takes Picard and Anderson, not "
            f"{type(solver).__name__}: choose one of these, or {ELSEWHERE}"
        )
    if solver.record:
        raise NotImplementedError(
            f"fixed_point under torch.compile records no iterates: leave out record, or {ELSEWHERE}"
        )
    if rows_independent is not False:
        raise NotImplementedError(
            "fixed_point under torch.compile keeps all rows in the batch: leave out "
            f"rows_independent, or {ELSEWHERE}"
        )
