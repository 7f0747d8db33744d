"""What is proved of the layers of a model: each cell is asked.

A module says it by a method `certificate()`; a DEQ is asked through its `cell`. Of an arbitrary map
nothing is proved, and that is one sentence.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn

from deqlab.named_parts import held
from deqlab.stability.certificate import Certificate

WRAPPED = ("_orig_mod", "module")
"""Where torch.compile, and wrappers such as DataParallel and AveragedModel, keep their module."""

HOOKS = ("_forward_pre_hooks", "_forward_hooks")

MAP = ("forward", "prepare", "update")
"""Methods that f is made of: who overrides one of them below `certificate` has another f."""


def certify(module: object) -> dict[str, Certificate]:
    """Return what is proved of each layer of a model, at its present weights, by name.

    Args:
        module: A model that contains DEQs; or one DEQ, or a cell: it is then the only entry, under
            its own name.

    Returns:
        One certificate for each DEQ, and for each cell outside of one, by its path in the model, as
        `named_parts` has it. A
        layer whose cell says nothing is there as unknown.

    Raises:
        TypeError: There is nothing in it to ask: a plain function, or a module without a DEQ.

    Example:
        >>> from deqlab import DEQ
        >>> from deqlab.nn import MonotoneCell
        >>> model = nn.Sequential(DEQ(MonotoneCell(8, 16, margin=0.5)), nn.Linear(16, 2))
        >>> {name: c.margin >= 0.49999 for name, c in certify(model).items()}
        {'0': True}
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            "certify asks a cell, a DEQ or a model that contains DEQs what is proved of it, got "
            f"{type(module).__name__}: of an arbitrary map nothing is proved; spectral_radius "
            "measures it at a point"
        )
    found = dict(_layers(module, ""))
    if not found:
        raise TypeError(
            f"certify found nothing to ask in {type(module).__name__}: no cell, and no DEQ; give a "
            "module a method certificate(), or measure it at a point by spectral_radius"
        )
    return found


def _layers(module: nn.Module, path: str) -> Iterator[tuple[str, Certificate]]:
    """Yield the layers at and below a module, and what is proved of them."""
    inner = held(module)
    if inner is not None:
        yield from _layers(inner, path)
    elif hasattr(module, "cell") and hasattr(module, "solver"):
        yield path or str(getattr(module, "name", type(module).__name__)), _of(module.cell)
    elif callable(getattr(type(module), "certificate", None)):
        yield path or type(module).__name__, _of(module)
    else:
        for name, child in module.named_children():
            yield from _layers(child, f"{path}.{name}" if path else name)


def _of(cell: Any) -> Certificate:  # noqa: ANN401, whatever a DEQ was given
    """Return what a cell says of itself, if it is still the map that it speaks of."""
    if any(getattr(cell, hooks, None) for hooks in HOOKS):
        return Certificate.unknown(f"hooks of {type(cell).__name__} may change what it computes")
    parts = getattr(cell, "_modules", {})
    for name in WRAPPED:
        if name in parts and not hasattr(type(cell), "certificate"):
            return _of(parts[name])
    if not callable(getattr(cell, "certificate", None)):
        return Certificate.unknown(f"{type(cell).__name__} has no method certificate()")
    certificate = cell.certificate()
    if not isinstance(certificate, Certificate):
        raise TypeError(
            f"{type(cell).__name__}.certificate() must return a stability.Certificate, such as "
            f"Certificate.unknown('no theorem is known'), got {certificate!r}"
        )
    if certificate.holds and (method := _overridden(cell)) is not None:
        return Certificate.unknown(
            f"{type(cell).__name__} overrides {method}, and inherits a certificate of another map"
        )
    return certificate


def _overridden(cell: Any) -> str | None:  # noqa: ANN401
    """Return the method of f that was written below `certificate`, if there is one."""
    for kind in type(cell).__mro__:
        if "certificate" in vars(kind):
            return next((method for method in MAP if method in vars(cell)), None)
        for method in MAP:
            if method in vars(kind):
                return method
    return None
