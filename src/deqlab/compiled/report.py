"""What a compiled solve says of rows that fail, when it runs: the words of `errors`.

An operator of its own, for a graph holds neither a warning nor an exception.
"""

from typing import cast

import torch
from torch import Tensor
from torch._library.effects import EffectType

from deqlab.errors import OnFailure, report_failure
from deqlab.solution import Solution
from deqlab.solvers.loop.verdicts import Verdicts


def report(verdicts: Verdicts, what: str, on_failure: OnFailure) -> None:
    """Make the graph raise, warn or stay silent if a row failed."""
    if on_failure == "ignore":
        return
    status, residual, tolerance = verdicts.status, verdicts.residual, verdicts.tolerance
    _report(status, residual, tolerance, verdicts.steps, what, on_failure)


@torch.library.custom_op("deqlab::report", mutates_args=())
def _report(
    status: Tensor, residual: Tensor, tolerance: Tensor, steps: Tensor, what: str, on_failure: str
) -> None:
    solution = Solution(
        value=None,
        residual=residual,
        tolerance=tolerance,
        status=status,
        steps=steps,
        evaluations=1,
        trace=residual.new_empty((0, len(status))),
    )
    report_failure(solution, what=what, on_failure=cast("OnFailure", on_failure))


@_report.register_fake
def _(*_: object) -> None:
    return None


_report.register_effect(EffectType.ORDERED)  # to be run though nothing uses what it returns
