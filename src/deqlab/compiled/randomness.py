"""Whether f draws random numbers: found out while it is traced.

A solve evaluates one fixed map. Outside of a compiled region every evaluation draws the same
numbers again; a compiled loop would draw others at every step, and could take two draws that happen
to agree for a fixed point.

torch marks the operators that draw, but what a graph holds when it is traced are calls of functions
made of operators. So each is run once more, on the tensors without numbers that it was traced with.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch._ops import HigherOrderOperator
from torch.utils._pytree import tree_leaves

from deqlab.compiled.report import ELSEWHERE, HERE, refuse
from deqlab.maps.random_numbers import Draws


def evaluated(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return f(z).

    Raises:
        NotImplementedError: f draws random numbers.
    """
    if torch.compiler.is_dynamo_compiling():
        before = _nodes()
        fz = f(z)
        random = _draws(before)
    else:  # torch.export with strict=False runs the operators themselves, without numbers
        with Draws() as draws:
            fz = f(z)
        random = draws.found
    if random:
        refuse(
            f"{HERE}: f draws random numbers (a dropout in train mode?), and "
            f"would draw others at every step: use eval mode, or {ELSEWHERE}"
        )
    return fz


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _nodes() -> int:
    """Return how many nodes the graph has that is being traced."""
    return len(_output().graph.nodes)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _draws(first: int) -> bool:
    output, draws = _output(), Draws()
    with draws:
        for node in _calls(list(output.graph.nodes)[first:], output.nn_modules):
            # What runs only where it stands, inside of a derivative, is taken to draw nothing.
            with suppress(Exception):
                _run(node)
    return draws.found


def _calls(nodes: Iterable[fx.Node], modules: Mapping[str, object]) -> Iterator[fx.Node]:
    """Yield the nodes that compute tensors, those of subgraphs included."""
    for node in nodes:
        subgraph = modules.get(str(node.target)) if node.op == "get_attr" else None
        if isinstance(subgraph, fx.GraphModule):
            yield from _calls(subgraph.graph.nodes, modules)
        elif node.op in ("call_function", "call_method") and not _is_frame(node.target):
            results = tree_leaves(node.meta.get("example_value"))
            if any(isinstance(result, Tensor) for result in results):
                yield node


def _is_frame(target: object) -> bool:
    """Return whether a call only frames others: an operator on subgraphs, a level of torch.func."""
    module = getattr(target, "__module__", None) or ""
    return isinstance(target, HigherOrderOperator) or "functorch" in module


def _run(node: fx.Node) -> None:
    """Run a node once more, on what stands for its tensors."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: _plain(n.meta["example_value"]))
    if node.op == "call_method":
        getattr(args[0], str(node.target))(*args[1:], **kwargs)
    elif callable(node.target):
        node.target(*args, **kwargs)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return what a level of torch.func has wrapped."""
    while isinstance(value, Tensor) and is_functorch_wrapped_tensor(value):
        value = get_unwrapped(value)
    return value


def _output() -> Any:  # noqa: ANN401, a type of torch's own
    """Return what torch.compile has traced so far."""
    from torch._dynamo.symbolic_convert import InstructionTranslator

    return InstructionTranslator.current_tx().output
