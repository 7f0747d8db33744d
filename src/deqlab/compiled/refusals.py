"""What cannot be compiled, and the sentences that say so.

They are spoken while torch.compile traces; with fullgraph=True they stand in torch's own error.
"""

from collections.abc import Sequence
from typing import Any

from deqlab.solvers import Anderson, Picard, Solver

HERE = "fixed_point in one graph (fullgraph=True, torch.export)"
ELSEWHERE = "compile without fullgraph=True, and the solve runs outside of the graph"


def check_supported(solver: Solver[Any], rows_independent: bool | Sequence[bool]) -> None:
    """Raise NotImplementedError if an option cannot be compiled."""
    if type(solver) not in (Picard, Anderson):
        raise NotImplementedError(
            f"{HERE} takes Picard and Anderson, not {type(solver).__name__}: choose one of these, "
            f"or {ELSEWHERE}"
        )
    if solver.record:
        raise NotImplementedError(f"{HERE} records no iterates: leave out record, or {ELSEWHERE}")
    if rows_independent is not False:
        raise NotImplementedError(
            f"{HERE} keeps all rows in the batch: leave out rows_independent, or {ELSEWHERE}"
        )
