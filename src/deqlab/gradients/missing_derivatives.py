"""What torch says where an operation of f lacks a derivative, and the way out."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.autograd.function import once_differentiable

from deqlab.linalg.products import has_holes, tape_nodes

SAYINGS = ("is not implemented", "once_differentiable", "support double backward")
"""The words of torch: an operator, a function of the user's, and what AOTAutograd has compiled."""


class MissingDerivativeError(NotImplementedError):
    """An operation of f has no derivative of the order that is asked for."""


@contextmanager
def missing_derivatives_are_named() -> Iterator[None]:
    """Say which operation is the cause, where a gradient of a fixed point fails for one.

    Raises:
        MissingDerivativeError: It does.
    """
    try:
        yield
    except MissingDerivativeError:
        raise
    except RuntimeError as error:
        said = str(error).partition("\n")[0].rstrip(".")
        if not any(saying in said for saying in SAYINGS):
            raise
        raise MissingDerivativeError(_sentence(said)) from error


def check_twice_differentiable(out: Tensor, *recorded: Tensor | None) -> None:
    """Raise MissingDerivativeError if a recorded gradient leaves out what it depends on.

    Args:
        out: The result of f, on its tape.
        recorded: Derivatives by that tape, recorded.
    """
    if not has_holes(*recorded):
        return
    marked = once_differentiable(lambda *_: None).__code__  # of what the mark wraps around
    functions = [getattr(type(node), "_forward_cls", None) for node in tape_nodes(out)]
    names = {
        function.__name__
        for function in functions
        if function is not None and getattr(function.backward, "__code__", None) is marked
    }
    raise MissingDerivativeError(_sentence(f"{', '.join(sorted(names))} is once_differentiable"))


def _sentence(said: str) -> str:
    return (
        "the gradient of fixed_point: an operation of f has no derivative of the order that is "
        f"asked for ({said}). With create_graph=True that is the second: write the operation in "
        "terms of others that have it, or leave f uncompiled"
    )
