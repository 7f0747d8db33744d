"""The route that knows nothing of the target: monotone W, solved by Newton, trained by Adam.

    z = relu(W z + U x + b),    W = (1 - m) I - A'A + B - B',    y = v'z + s x + c

I - W is a P-matrix whatever A and B are, so there is one equilibrium and semismooth Newton finds
it. The penalty is the mean of |df/dz|_F^2 / n, with df/dz = diag(1[z > 0]) W at the equilibrium: a
closed form of what Bai, Koltun & Kolter (2021), "Stabilizing Equilibrium Models by Jacobian
Regularization", estimate with random vectors.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from deqlab.expressivity.constructions import ReadoutDEQ
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import Dense
from deqlab.nn.cells.monotone import MonotoneCell
from deqlab.nn.deq import DEQ
from deqlab.solvers.newton import Newton
from deqlab.training.checkpoints.checkpoint import Keep, Progress, keep_nothing
from deqlab.training.checkpoints.random_numbers import RandomNumbers
from deqlab.training.loop import Loop

GAIN = 2.0
"""The standard deviation of the entries of A and B at the start, times sqrt(width)."""

COUNTED = 50
"""The FLOPs of one step in 50 are counted, as Newton needs more evaluations at some than others."""

TOLERANCE, PATIENCE = 1e-12, 200
"""The relative tolerance and the largest number of steps of the solver, in training and in tests:
Newton is exact once it knows which units are active."""


def built(width: int) -> ReadoutDEQ:
    """Return the DEQ, drawn from torch's global generator."""
    cell = MonotoneCell(1, width, gain=GAIN)
    solver = Newton(rtol=TOLERANCE, max_steps=PATIENCE)
    layer = DEQ(cell, solver=solver, gradient=Implicit(solver=Dense()), on_failure="ignore")
    return ReadoutDEQ(layer, nn.Linear(width, 1), nn.Linear(1, 1, bias=False)).double()


def trained(
    x: Float[Tensor, "N 1"],
    y: Float[Tensor, "N 1"],
    *,
    width: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    penalty: float,
    seed: int,
    keep: Keep = keep_nothing,
) -> tuple[ReadoutDEQ, float]:
    """Return the DEQ that Adam ends with, and the FLOPs of all its steps.

    Args:
        x: The training points.
        y: Their targets.
        width: The width of the DEQ, at least 1.
        steps: The number of steps, at least 1; the learning rate falls to 0 along a cosine.
        batch_size: How many points are drawn for a step, with replacement.
        learning_rate: The learning rate of the first step.
        penalty: The weight of the Jacobian penalty, 0 or more.
        seed: The seed of weights and batches; torch's global generator is set to it.
        keep: Makes the checkpoint from which training goes on after an interruption.
    """
    torch.manual_seed(seed)
    network = built(width)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    loop: Loop[Tensor, None] = Loop(
        loss=lambda batch: (_loss(network, x[batch], y[batch], penalty), None),
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps),
    )
    counted = range(1, steps + 1, COUNTED)
    progress: Progress = {"step": 0, "num_steps": steps, "spent": 0.0}
    with keep({"network": network, **loop.parts, "random": RandomNumbers()}) as checkpoint:
        progress = checkpoint.load() or progress
        batches = (torch.randint(len(x), (batch_size,)) for _ in range(progress["step"], steps))
        for step in loop.run(batches, count_flops=counted, taken=progress["step"]):
            progress["step"] = step.index
            if step.flops is not None:
                progress["spent"] += step.flops * min(COUNTED, steps - step.index + 1)
            if checkpoint.due:
                checkpoint.save(progress)
    return network, progress["spent"]


def _loss(
    network: ReadoutDEQ, x: Float[Tensor, "B 1"], y: Float[Tensor, "B 1"], penalty: float
) -> Float[Tensor, ""]:
    solution = network.layer.solve(x)
    loss: Tensor = mse_loss(network.output(x, solution), y)
    if penalty == 0:
        return loss
    cell = network.layer.cell
    assert isinstance(cell, MonotoneCell)
    # Not by z itself: where it should be 0 it is so to rounding only.
    active = (cell(solution.matrix.detach(), x) > 0).to(y)
    rows = cell.weight.square().sum(dim=1)
    size: Tensor = (active @ rows).mean() / len(rows)
    return loss + penalty * size
