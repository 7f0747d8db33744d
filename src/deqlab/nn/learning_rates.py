"""Parameters that want another learning rate than the rest, as groups for an optimiser of torch.

A module says so by an attribute `rate_factors`, which maps the names of its own parameters to
factors of the learning rate: a gate that starts at a guess learns ten times as fast as weights.
Weight decay is for what multiplies vectors, matrices and filters: gains, gates and biases, which
have one dimension at most, are left as they are (as in GPT-2 and its successors).
"""

from collections.abc import Iterator
from typing import Any

from torch import nn

from deqlab.arguments import check_number


def parameter_groups(
    model: nn.Module, *, lr: float, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Return the parameters of a model in groups of equal learning rate and equal weight decay.

    Args:
        model: The model; modules in it may have `rate_factors`.
        lr: The learning rate of all that wants no other, more than 0.
        weight_decay: That of parameters of two dimensions or more, 0 or more.

    Raises:
        TypeError: A number is none.
        ValueError: A number is out of its domain, or `rate_factors` names no parameter.

    Example:
        >>> import torch
        >>> from deqlab.nn import TransformerCell, parameter_groups
        >>> groups = parameter_groups(TransformerCell(8, 2), lr=1e-3, weight_decay=0.1)
        >>> [(group["lr"], group["weight_decay"], len(group["params"])) for group in groups]
        [(0.001, 0.1, 4), (0.001, 0.0, 2), (0.01, 0.0, 1)]
        >>> optimizer = torch.optim.AdamW(groups)
    """
    for name, number in (("lr", lr), ("weight_decay", weight_decay)):
        check_number(name, number)
        if not 0 <= number < float("inf") or (name == "lr" and number == 0):
            raise ValueError(
                f"{name} must be {'more than 0' if name == 'lr' else '0 or more'}, "
                f"and finite, got {number}"
            )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, factor in _with_factors(model):
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((lr * factor, decay), []).append(parameter)
    order = sorted(groups, key=lambda key: (key[0], -key[1]))
    return [{"params": groups[key], "lr": key[0], "weight_decay": key[1]} for key in order]


def _with_factors(model: nn.Module) -> Iterator[tuple[nn.Parameter, float]]:
    """Yield each parameter that is trained once, with the factor of its learning rate."""
    met: set[nn.Parameter] = set()
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        factors = getattr(module, "rate_factors", {})
        for name in factors:
            if name not in own:
                raise ValueError(
                    f"rate_factors of {type(module).__name__} names {name!r}, which is none of its "
                    f"own parameters: {', '.join(own) or 'it has none'}"
                )
        for name, parameter in own.items():
            if parameter.requires_grad and parameter not in met:
                met.add(parameter)
                yield parameter, factors.get(name, 1.0)
