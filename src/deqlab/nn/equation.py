"""The equation z = f(z, *args) that a cell and its inputs stand for, in one solve.

What the cell can do decides, not its class. If it has `prepare`, that is called once, and what is
constant in z is computed once. Where something stands between the caller and the cell's own
formula (hooks, `torch.compile`, a wrapper such as `nn.DataParallel`, a `forward` that a subclass
overrides), f is the module itself, called as cell(z, *inputs): each evaluation then runs what any
call of the module runs. The solve starts where `initial` says, of the cell or of what it wraps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from deqlab.nn.cells.base import Prepared
from deqlab.nn.leading import Leading, flattened
from deqlab.nn.start import start
from deqlab.solution import Solution

WRAPPED = ("_orig_mod", "module")
"""Where wrappers keep their module: torch.compile; DataParallel, AveragedModel and most others."""

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


@dataclass(frozen=True, kw_only=True)
class Equation:
    """One solve, as the cell asks for it.

    Attributes:
        f: The map, called as f(z, *args).
        args: What f takes beside z.
        z0: Where the solve starts.
        rows: For each of args, whether it has a row per sample, or one bool for all; None where
            the cell does not say.
        leading: The dimensions that z0 and args had in front of each sample.
        is_vector: Whether the state has one dimension, of a cell that does not say what it counts.
    """

    f: Callable[..., Any]
    args: tuple[Any, ...]
    z0: Any
    rows: bool | tuple[bool, ...] | None
    leading: Leading | None
    is_vector: bool

    @classmethod
    def of(
        cls,
        cell: Callable[..., Any],
        inputs: Sequence[Any],
        keywords: Mapping[str, Any],
        z0: Any,  # noqa: ANN401
    ) -> "Equation":
        """Return the equation of `cell` at these inputs, from z0, or from where it starts."""
        inner = unwrapped(cell)
        if z0 is None:
            z0 = start(inner, inputs, keywords)
        knows = callable(getattr(inner, "initial", None))
        is_vector = not knows and isinstance(z0, Tensor) and z0.ndim == 1
        leading = None
        if getattr(inner, "sample_dims", None) is not None:
            leading, inputs, keywords = flattened(inner.sample_dims, inputs, keywords)
            z0 = leading.flatten_state(z0)
        rows: bool | tuple[bool, ...] | None = True
        if is_prepared(cell):
            prepared = _prepared(cell, inputs, keywords)
            f, args = cell.update, (prepared.shared, prepared.rows)  # type: ignore[attr-defined]
            rows = None if prepared.rows is None else (False, True)
        else:
            f, args = _named(cell, len(inputs), tuple(keywords)), (*inputs, *keywords.values())
        return cls(f=f, args=args, z0=z0, rows=rows, leading=leading, is_vector=is_vector)

    def restored(self, solution: Solution[Any]) -> Solution[Any]:
        """Return a solution whose states have the dimensions in front that the inputs had."""
        if self.leading is None or self.leading.is_batch:
            return solution
        restore = self.leading.restore
        return replace(
            solution,
            value=restore(solution.value),
            correction=None if solution.correction is None else restore(solution.correction),
            states=tuple(restore(state) for state in solution.states),
        )


def unwrapped(cell: Any) -> Any:  # noqa: ANN401
    """Return the module that can say where to start: `cell`, or what it wraps."""
    modules = getattr(cell, "_modules", {})
    for name in WRAPPED:
        held = modules[name] if name in modules else None  # noqa: SIM401, no `get`
        if held is not None and not hasattr(type(cell), "initial"):
            return unwrapped(held)
    return cell


def is_prepared(cell: Any) -> bool:  # noqa: ANN401
    """Whether `prepare` stands for the whole of what a call of the module does."""
    if not hasattr(type(cell), "prepare") or "forward" in vars(cell):
        return False
    if any(getattr(cell, hooks, None) for hooks in HOOKS):
        return False
    if getattr(cell, "_compiled_call_impl", None) is not None:  # module.compile()
        return False
    # Whichever of the two a subclass wrote last.
    for kind in type(cell).__mro__:
        if "prepare" in vars(kind):
            return True
        if "forward" in vars(kind):
            return False
    return False


def _prepared(
    cell: Callable[..., Any], inputs: Sequence[Any], keywords: Mapping[str, Any]
) -> Prepared:
    prepared = cell.prepare(*inputs, **keywords)  # type: ignore[attr-defined]
    if not isinstance(prepared, Prepared):
        raise TypeError(
            f"{type(cell).__name__}.prepare must return Prepared(shared=..., rows=...), which its "
            f"update(z, shared, rows) is called with, got a {type(prepared).__name__}"
        )
    return prepared


def _named(cell: Callable[..., Any], count: int, names: tuple[str, ...]) -> Callable[..., Any]:
    """Return the cell as a map of positional args, of which those after `count` have names."""
    if not names:
        return cell

    def named(z: Any, *args: Any) -> Any:  # noqa: ANN401
        return cell(z, *args[:count], **dict(zip(names, args[count:], strict=True)))

    return named
