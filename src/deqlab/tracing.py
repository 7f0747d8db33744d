"""Tracers that record one run of a program, and the sentences that refuse them.

A solve takes as many steps as its numbers ask for, and measures them outside of torch. A record of
one run keeps what came out at the example, as a constant.
"""

import torch
from torch import _ops, fx
from torch._subclasses.fake_tensor import FakeTensor

WAY_OUT = (
    "keep the DEQ outside of it, or use torch.compile or torch.export, whose graphs "
    "hold the loop itself (docs/compile.md)"
)


FAKE = (
    "fixed_point on fake tensors (FakeTensorMode): they have shapes and no numbers, and a solve "
    f"takes as many steps as its numbers ask for; {WAY_OUT}"
)

Key = torch._C._TorchDispatchModeKey
"""Kinds of tracers that see operators: by proxies (make_fx), and by shapes alone."""


def check_not_traced(*values: object) -> None:
    """Raise if a tracer records the call, or follows one of the values.

    Raises:
        NotImplementedError: It does.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        raise NotImplementedError(
            "fixed_point under torch.jit.trace (or an ONNX export by it): a solve takes as many "
            "steps as its input asks for, and the trace would return the output of the example for "
            f"any input; {WAY_OUT}"
        )
    if torch._C._len_torch_dispatch_stack() or _ops._len_torch_dispatch_stack_pre_dispatch():
        _check_modes()
    for value in values:
        if isinstance(value, fx.Proxy):
            raise NotImplementedError(
                "fixed_point under torch.fx.symbolic_trace: a solve takes as many steps as its "
                f"numbers ask for, and a Proxy has none; {WAY_OUT}; or let a Tracer take the DEQ "
                "as a leaf (is_leaf_module)"
            )
        if isinstance(value, FakeTensor):
            raise NotImplementedError(FAKE)


def _check_modes() -> None:
    """Raise if this thread's operators are recorded, or run on shapes alone."""
    before_dispatch = _ops._get_dispatch_mode_pre_dispatch(Key.PROXY)
    if before_dispatch is not None or torch._C._get_dispatch_mode(Key.PROXY) is not None:
        raise NotImplementedError(
            "fixed_point under make_fx (or a compiler that records operators by it): a solve takes "
            "as many steps as its input asks for, and the record would hold those of the example; "
            f"{WAY_OUT}"
        )
    if torch._C._get_dispatch_mode(Key.FAKE) is not None:
        raise NotImplementedError(FAKE)


def refuse_script(what: str) -> None:
    """Say why torch.jit.script cannot take something.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError(
        f"{what} under torch.jit.script: TorchScript has no functions as values, and a solve takes "
        f"one; {WAY_OUT}"
    )
