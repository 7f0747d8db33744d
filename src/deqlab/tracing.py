"""Tracers that record one run of a program, and the sentences that refuse them.

A solve takes as many steps as its numbers ask for, and measures them outside of torch. A record of
one run keeps what came out at the example, as a constant.
"""

import torch
from torch import fx

WAY_OUT = (
    "keep the DEQ outside of it, or use torch.compile or torch.export, whose graphs "
    "hold the loop itself (docs/compile.md)"
)


def check_not_traced(*values: object) -> None:
    """Raise if the call is being recorded by torch.jit.trace, or a value by torch.fx.

    Raises:
        NotImplementedError: It is.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        raise NotImplementedError(
            "fixed_point under torch.jit.trace (or an ONNX export by it): a solve takes as many "
            "steps as its input asks for, and the trace would return the output of the example for "
            f"any input; {WAY_OUT}"
        )
    for value in values:
        if isinstance(value, fx.Proxy):
            raise NotImplementedError(
                "fixed_point under torch.fx.symbolic_trace: a solve takes as many steps as its "
                f"numbers ask for, and a Proxy has none; {WAY_OUT}; or let a Tracer take the DEQ "
                "as a leaf (is_leaf_module)"
            )


def refuse_script(what: str) -> None:
    """Say why torch.jit.script cannot take something.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError(
        f"{what} under torch.jit.script: TorchScript has no functions as values, and a solve takes "
        f"one; {WAY_OUT}"
    )
