"""The way around torch.compile, for what looks at numbers.

A solve decides row by row when to stop, which no graph of operators can follow. Whoever asks for
one graph (fullgraph=True, torch.export) gets the solve of `compiled` as part of it, or a sentence
that says why not. Without that the graph breaks: what stands before and behind the solve is
compiled, and the solve itself runs as it does without a compiler.

To import this takes torch a second, for its compiler comes along: it is imported where
`torch.compiler.is_compiling()` says that the compiler is there already.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])

_disable: Callable[[F], F] = torch.compiler.disable


def leaves_graph() -> bool:
    """Return whether the compiler that traces this may break its graph here."""
    return torch.compiler.is_dynamo_compiling() and not _breaks_are_errors()


@_disable
def outside(call: Callable[..., T], *args: Any, **options: Any) -> T:  # noqa: ANN401
    """Break the graph, and call what is given as if there were no compiler."""
    return call(*args, **options)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _breaks_are_errors() -> bool:
    """Return whether one graph was asked for, of the one that is being traced.

    torch has no public name for it. Should its own change, a solve breaks the graph, and torch
    says so where fullgraph=True forbids it.
    """
    try:
        from torch._dynamo.symbolic_convert import InstructionTranslator

        return bool(InstructionTranslator.current_tx().one_graph)
    except (ImportError, AttributeError):
        return False
