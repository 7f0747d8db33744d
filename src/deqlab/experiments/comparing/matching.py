"""Which FNNs compete with a DEQ: those that match it in parameters, or in FLOPs per training step.

An FNN of given depth is matched to the DEQ by its width. The DEQ's FLOPs depend on how many
iterations its training takes, so they are measured while it trains, and the FNNs that match them
are planned when all seeds of the DEQ are done. A depth of which no width comes within a quarter of
the DEQ's cost is left out.
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from deqlab.costs import flops, num_parameters
from deqlab.experiments.base import Job, Row, every_job, summaries
from deqlab.experiments.comparing.arms import OWN, ArmsConfig, Loss, Shape, deq, fnn

PARAMETERS = "parameters"
FLOPS = "FLOPs per step"
VIEWS = (PARAMETERS, FLOPS)

WITHIN = 0.25
"""The share of the DEQ's cost by which a network that matches it may miss."""


class BudgetError(ValueError):
    """No network of the comparison costs what the DEQ costs."""


def plan(shape: Shape, loss: Loss, target: Tensor, rows: Sequence[Row]) -> list[Job]:
    """Return the jobs of the comparison, as far as `rows` determine them.

    Args:
        shape: What the networks share.
        loss: The training loss, for the FLOPs of an FNN's step.
        target: A batch of targets, for the same.
        rows: What finished jobs left.
    """
    config = shape.config
    arms: dict[str, dict[str, Any]] = {
        "deq": {"family": "deq", "label": f"DEQ, width {config.width}", "matching": None}
    }

    def match(name: str, matching: str, cost: Callable[[int, int], int], budget: int) -> None:
        for depth in config.depths:
            width = closest(partial(cost, depth), budget)
            if width is not None:
                arms[f"fnn-{depth}-{name}"] = _fnn_settings(depth, width, matching)

    match("parameters", PARAMETERS, partial(_num_parameters, shape), _budget(shape))
    if config.model is not None:
        arms[OWN] = {"family": OWN, "label": config.model, "matching": None}
    spent = _spent(rows)
    if len(spent) == len(config.seeds):
        match("flops", FLOPS, partial(_step_flops, shape, loss, target), round(median(spent)))
    return every_job(arms, config.seeds)


def later(config: ArmsConfig, rows: Sequence[Row]) -> int:
    """Return how many networks may match the FLOPs of the DEQ, while these are not known."""
    known = len(_spent(rows)) == len(config.seeds)
    return 0 if known else len(config.depths) * len(config.seeds)


def _spent(rows: Sequence[Row]) -> list[int]:
    return [row["flops_per_step"] for row in summaries(rows) if row["arm"] == "deq"]


def check(shape: Shape) -> None:
    """Raise BudgetError if no FNN has about as many parameters as the DEQ."""
    budget = _budget(shape)
    costs = [partial(_num_parameters, shape, depth) for depth in shape.config.depths]
    if all(closest(cost, budget) is None for cost in costs):
        least = min(cost(1) for cost in costs)
        raise BudgetError(
            f"no FNN of depth {' or '.join(map(str, shape.config.depths))} comes within "
            f"{WITHIN:.0%} of the DEQ's {budget} parameters: the smallest has {least}; take "
            "smaller depths or a larger width"
        )


def _fnn_settings(depth: int, width: int, matching: str) -> dict[str, Any]:
    return {
        "family": "fnn",
        "depth": depth,
        "width": width,
        "matching": matching,
        "label": f"FNN, depth {depth}, width {width}",
    }


def closest(cost: Callable[[int], int], budget: int) -> int | None:
    """Return the width at least 1 whose cost, which grows with it, is closest to `budget`.

    None: even that misses the budget by more than a quarter.
    """
    high = 1
    while cost(high) < budget:
        high *= 2
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < budget else (low, middle)
    width = min((low, high), key=lambda width: abs(cost(width) - budget))
    return width if abs(cost(width) - budget) <= WITHIN * budget else None


def _budget(shape: Shape) -> int:
    # A cell of the user's may do what the meta device cannot.
    with torch.random.fork_rng([]), torch.device("cpu" if shape.config.cell else "meta"):
        return num_parameters(deq(shape))


def _meta(shape: Shape, depth: int, width: int) -> nn.Sequential:
    with torch.device("meta"):
        return fnn(shape, depth, width)


def _num_parameters(shape: Shape, depth: int, width: int) -> int:
    return num_parameters(_meta(shape, depth, width))


def _step_flops(shape: Shape, loss: Loss, target: Tensor, depth: int, width: int) -> int:
    model = _meta(shape, depth, width)
    x = torch.empty(len(target), shape.num_inputs, device="meta")
    y = target.to("meta")
    count, _ = flops(lambda: loss(model(x), y).backward())
    return count
