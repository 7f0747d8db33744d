"""Which explicit network a DEQ is compared with: of equal parameters, or of equal training FLOPs.

Parameters are those of the whole network, stem and readout included. FLOPs are those of a step of
training: the solve with all its evaluations, the backward pass, and all around them. A DEQ's depend
on the state of its training, so they are measured on the network as it is; an explicit network's do
not, and are counted without computing anything.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from deqlab.costs import flops, num_parameters


def training_flops(model: nn.Module, x: Float[Tensor, "B ..."], y: Int64[Tensor, "B ..."]) -> int:
    """Return the FLOPs of one step of training a classifier on a batch; see `step_flops`.

    Args:
        model: Returns scores (B, ..., classes).
        x: The batch.
        y: Its classes, one a sample or one a position.
    """
    return step_flops(model, lambda: cross_entropy(model(x).flatten(0, -2), y.flatten()))


def step_flops(model: nn.Module, loss: Callable[[], Tensor]) -> int:
    """Return the FLOPs of one step of training at a loss of the model, without the optimiser's.

    The gradients of the parameters are as before. Buffers are written, as by any step.
    """
    parameters = list(model.parameters())
    gradients = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    try:
        # Not autograd.grad of the parameters: hooks that gradients of a solve set refuse it.
        return flops(lambda: loss().backward())[0]
    finally:
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient


def size_of_equal_parameters(
    make: Callable[[int], nn.Module], budget: int, sizes: Iterable[int]
) -> int:
    """Return the size whose network has most nearly `budget` parameters.

    Args:
        make: Makes the network of a size; its parameters grow with it.
        budget: The parameters of the DEQ.
        sizes: Increasing; the search ends at the first that reaches the budget.

    Raises:
        ValueError: There are no sizes, or all of them end below the budget.
    """
    return _nearest(lambda size: num_parameters(_meta(make, size)), budget, sizes, "parameters")


def size_of_equal_flops(
    make: Callable[[int], nn.Module],
    budget: int,
    sizes: Iterable[int],
    x: Float[Tensor, "B ..."],
    y: Int64[Tensor, "B ..."],
) -> int:
    """Return the size whose classifier takes most nearly `budget` FLOPs in a step of training.

    Args:
        make: Makes the explicit network of a size; its FLOPs grow with it.
        budget: The FLOPs of the DEQ's step on the same batch, as `training_flops` returns them.
        sizes: Increasing; the search ends at the first that reaches the budget.
        x: The batch; only its shape is taken.
        y: Its classes.

    Raises:
        ValueError: There are no sizes, or all of them end below the budget.
    """
    x, y = x.to("meta"), y.to("meta")
    return _nearest(lambda size: training_flops(_meta(make, size), x, y), budget, sizes, "FLOPs")


def size_of_equal_step_flops(
    make: Callable[[int], nn.Module],
    budget: int,
    sizes: Iterable[int],
    x: Float[Tensor, "B ..."],
) -> int:
    """Return the same of networks with any loss that multiplies no matrices; see there."""
    x = x.to("meta")

    def spent(size: int) -> int:
        model = _meta(make, size)
        return step_flops(model, lambda: model(x).sum())

    return _nearest(spent, budget, sizes, "FLOPs")


def _meta(make: Callable[[int], nn.Module], size: int) -> nn.Module:
    with torch.device("meta"):
        return make(size)


def _nearest(cost: Callable[[int], int], budget: int, sizes: Iterable[int], what: str) -> int:
    gaps: dict[int, int] = {}
    for size in sizes:
        spent = cost(size)
        gaps[size] = abs(spent - budget)
        if spent >= budget:
            return min(gaps, key=lambda size: gaps[size])
    raise ValueError(
        f"no size reaches the budget of {budget} {what}: {list(gaps)} were tried; give larger sizes"
    )
