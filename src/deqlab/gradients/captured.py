"""Tensors that f reaches by itself: parameters of modules, and what a closure captures.

The tape of one evaluation of f leads to them. Leaves stand at its ends. A tensor that is itself a
result (2 w, say, or the fast weights of meta-learning) was computed before f was called, so that
its node is older than the evaluation. The tape knows its node and not the tensor, which is found
by looking at what f hands to torch in one evaluation more.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

Edge: TypeAlias = tuple[Node, int]
"""A node, and which of its results."""

Gradients: TypeAlias = tuple[Tensor | None, ...]


def captured_tensors(
    out: Tensor,
    given: Sequence[Tensor],
    since: int,
    evaluate: Callable[[], object],
    reached: Sequence[Tensor] = (),
) -> tuple[Tensor, ...]:
    """Return the tensors with a gradient on the tape of `out` that f was not given.

    Args:
        out: The result of f.
        given: The leaves that f was given.
        since: The sequence number of autograd when f was called.
        evaluate: Calls f once more; used only if a captured tensor is a result.
        reached: Tensors that f can name. TorchScript uses some where Python does not see it.
    """
    if out.grad_fn is None:
        return ()
    leaves, older = _ends(out.grad_fn, since)
    tensors = [leaf for leaf in leaves if not any(leaf is known for known in given)]
    if older:
        with torch.no_grad(), _Sightings(older) as seen:
            evaluate()
        for tensor in reached:
            if (edge := (tensor.grad_fn, tensor.output_nr)) in older:
                seen.found.setdefault(edge, tensor)
        tensors += seen.found.values()
        for node, _ in older - seen.found.keys():  # used where Python does not see it
            behind, _ = _ends(node, -1)
            tensors += [leaf for leaf in behind if not any(leaf is known for known in tensors)]
    return tuple(tensors)


def pull(
    out: Tensor | Sequence[Tensor],
    sources: Sequence[Tensor],
    v: Tensor | Sequence[Tensor],
    *,
    graph: bool = False,
) -> Gradients:
    """Return v' d out / d source for each source; None where `out` does not depend on it.

    Only the part of the tape between counts: of two sources one may have led to the other. Hooks
    of the sources do not run, for they run when the result is passed on to these tensors.

    Args:
        out: What the tape leads to; or several such tensors, as a sequence, with as many v.
        sources: Leaves, or results that were computed before.
        v: The cotangent of `out`.
        graph: Whether to record the derivative.
    """
    with _undisturbed(sources):
        return torch.autograd.grad(
            out, sources, v, retain_graph=True, create_graph=graph, allow_unused=True
        )


def _ends(root: Node, since: int) -> tuple[list[Tensor], set[Edge]]:
    """Return the leaves that `root` leads to, in the order they are met, and the older edges."""
    leaves: list[Tensor] = []
    older: set[Edge] = set()
    seen, stack = {root}, [root]
    while stack:
        for node, index in stack.pop().next_functions:
            if node is None:
                continue
            variable = getattr(node, "variable", None)  # AccumulateGrad nodes have one
            if not isinstance(variable, Tensor) and node._sequence_nr() < since:
                older.add((node, index))
            elif node not in seen:
                seen.add(node)
                stack.append(node)
                if isinstance(variable, Tensor):
                    leaves.append(variable)
    return leaves, older


class _Sightings(TorchFunctionMode):
    """Finds the tensors that belong to these edges among all that functions of torch are given."""

    def __init__(self, edges: set[Edge]) -> None:
        super().__init__()
        self.edges = edges
        self.found: dict[Edge, Tensor] = {}

    @override
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                edge = (tensor.grad_fn, tensor.output_nr)
                if edge in self.edges:
                    self.found.setdefault(edge, tensor)
        return func(*args, **(kwargs or {}))


@contextmanager
def _undisturbed(sources: Sequence[Tensor]) -> Iterator[None]:
    """Keep a derivative by these tensors from their hooks, their .grad, and what led to them."""
    results = [tensor for tensor in sources if tensor.grad_fn is not None]
    hooked = [tensor for tensor in sources if tensor._backward_hooks]
    if not results and not hooked:
        yield
        return
    retained = [(tensor, tensor.grad) for tensor in results if tensor.retains_grad]
    with ExitStack() as stack:
        for tensor in hooked:
            stack.enter_context(_quiet(tensor))
        if len(sources) > 1:
            for tensor in results:
                assert tensor.grad_fn is not None
                stop = tensor.grad_fn.register_prehook(_nothing_at(tensor.output_nr))
                stack.callback(stop.remove)
        yield
    for tensor, grad in retained:
        tensor.grad = grad


def _nothing_at(index: int) -> Callable[[Gradients], Gradients]:
    """Return a hook that lets no gradient of one result of a node pass on to its inputs."""

    def hook(gradients: Gradients) -> Gradients:
        gradient = gradients[index]
        none = None if gradient is None else torch.zeros_like(gradient)
        return (*gradients[:index], none, *gradients[index + 1 :])

    return hook


class _Hook:
    """A tensor's hook that does nothing in threads that have asked for it."""

    lock = threading.Lock()
    here = threading.local()

    def __init__(self, hook: Callable[[Tensor], Tensor | None]) -> None:
        self.hook, self.users = hook, 0

    def __call__(self, gradient: Tensor) -> Tensor | None:
        return None if getattr(self.here, "quiet", 0) else self.hook(gradient)


@contextmanager
def _quiet(tensor: Tensor) -> Iterator[None]:
    """Keep the hooks of a tensor from running in this thread."""
    hooks: dict[int, Any] = tensor._backward_hooks or {}
    used: dict[int, _Hook] = {}
    with _Hook.lock:
        for key, hook in list(hooks.items()):
            used[key] = hook if isinstance(hook, _Hook) else _Hook(hook)
            used[key].users += 1
        hooks.update(used)
        _Hook.here.quiet = getattr(_Hook.here, "quiet", 0) + 1
    try:
        yield
    finally:
        with _Hook.lock:
            _Hook.here.quiet -= 1
            for key, still in used.items():
                still.users -= 1
                if not still.users and key in hooks:  # else it was removed meanwhile
                    hooks[key] = still.hook
