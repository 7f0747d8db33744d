"""Where a solve starts, and what may be wrong with a start that f cannot take.

A cell that has `initial` says what its state looks like: a z0 that the caller passes has that form.
A plain module without one starts at zeros in the shape of its first input, for want of better.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def start(inner: object, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return where a cell starts at these inputs.

    Raises:
        TypeError: It has no `initial`, and the first input is no tensor.
    """
    initial: Callable[..., Any] | None = getattr(inner, "initial", None)
    if callable(initial):
        return initial(*inputs, **keywords)
    if not inputs or not isinstance(inputs[0], Tensor):
        raise TypeError(
            f"where to start? {type(inner).__name__} has no `initial`, and the first input is no "
            "tensor whose shape the state could have: define initial(...) on it, which takes the "
            "same inputs, or pass z0="
        )
    return torch.zeros_like(inputs[0])


def described(
    error: Exception,
    what: str,
    inner: object,
    inputs: Sequence[Any],
    keywords: Mapping[str, Any],
    z0: Any,  # noqa: ANN401
) -> Exception | None:
    """Return an error that says what may be wrong with the start; None if nothing can be said.

    Args:
        error: What the solve ended in.
        what: The name of the layer.
        inner: The module that can say where to start.
        inputs: The inputs of the layer.
        keywords: Likewise.
        z0: What the caller passed as a start, or None.
    """
    # A kind of its own (of missing convergence, of memory) has another cause.
    if type(error) not in (RuntimeError, ValueError) and not isinstance(error, TypeError):
        return None
    try:
        with torch.no_grad():
            own = _form(start(inner, inputs, keywords))
    except Exception:  # then it is the inputs that are wrong, and the error says so
        return None
    knows = callable(getattr(inner, "initial", None))
    if z0 is None:
        told = (
            f"{what} started at zeros in the shape of its first input, {own}, for the cell has no "
            "`initial`. If its state has another shape, define initial(...) on the cell, which "
            "takes the same inputs and returns z0, or pass z0="
        )
        return None if knows else type(error)(f"{error}\n{told}")
    if _form(z0) == own:
        return None
    if knows:
        return ValueError(
            f"{what}: z0 is {_form(z0)}, and at these inputs the state is {own}: pass a z0 of that "
            f"form, or none, and the solve starts where the cell says ({_first_line(error)})"
        )
    return type(error)(
        f"{error}\n{what} started at the z0 that was passed, {_form(z0)}, and its first input is "
        f"{own}: pass a z0 in the form that the cell takes and returns"
    )


def _form(state: object) -> str:
    """Return the structure, shapes and dtypes of a state, in words."""
    if isinstance(state, Tensor):
        return f"{str(state.dtype).removeprefix('torch.')} of shape {tuple(state.shape)}"
    if isinstance(state, Mapping):
        return "{" + ", ".join(f"{key!r}: {_form(part)}" for key, part in state.items()) + "}"
    if isinstance(state, list | tuple) and len(state) < 10:
        parts = ", ".join(map(_form, state))
        return f"[{parts}]" if isinstance(state, list) else f"({parts})"
    return f"a {type(state).__name__}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
