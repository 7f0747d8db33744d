"""Networks that train side by side are those that train alone."""

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from deqlab.experiments.base import Job
from deqlab.experiments.expressivity.looped.networks import NetworksConfig, build
from deqlab.experiments.expressivity.looped.side_by_side import AdamByRow, SideBySide

CONFIG = NetworksConfig(width=4, gain=0.5, rtol=1e-12, max_steps=200)
KINDS = {
    "loop": {"family": "loop", "steps": 3},
    "free": {"family": "deq", "cell": "free"},
    "spectral": {"family": "deq", "cell": "spectral"},
    "triangular": {"family": "deq", "cell": "triangular"},
    "fnn": {"family": "fnn", "depth": 3, "width": 4},
}


def network(kind, seed=0):
    torch.manual_seed(seed)
    return build(CONFIG, Job(arm=kind, seed=seed, settings=KINDS[kind])).double()


def points(num_points=6):
    x = torch.rand(num_points, 1, dtype=torch.float64)
    return x, torch.sin(9 * x)


@pytest.mark.parametrize("kind", KINDS)
def test_each_output_is_that_of_the_network_alone(kind):
    together = SideBySide(network(kind), 3)
    with torch.no_grad():
        together.flat.add_(0.1 * torch.randn_like(together.flat))
    x, _ = points()
    outputs, solution = together(x)
    assert (solution is None) == (kind == "fnn")
    for index, output in enumerate(outputs):
        torch.testing.assert_close(output, together.network(index)(x), rtol=1e-9, atol=1e-9)
    first, _ = together(x, 2)
    torch.testing.assert_close(first, outputs[:2], rtol=1e-9, atol=1e-9)
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_each_trains_as_torch_would_train_it_alone(kind):
    rates, budgets, clip = (1e-2, 3e-2, 1e-2), (8, 8, 5), 0.05
    x, y = points()
    together = SideBySide(network(kind), 3)
    optimizer = AdamByRow(together.flat, rates=rates, steps=budgets, clip=clip)
    for step in range(max(budgets)):
        active = sum(step < budget for budget in budgets)
        outputs, _ = together(x, active)
        optimizer.zero_grad()
        (outputs - y).square().mean(dim=(1, 2)).sum().backward()
        optimizer.step()
    for index, (rate, budget) in enumerate(zip(rates, budgets, strict=True)):
        alone, norms = network(kind), []
        adam = torch.optim.Adam(alone.parameters(), lr=rate)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, budget)
        for _ in range(budget):
            adam.zero_grad()
            mse_loss(alone(x), y).backward()
            norms.append(nn.utils.clip_grad_norm_(alone.parameters(), clip).item())
            adam.step()
            cosine.step()
        assert max(norms) > clip  # or clipping would not be seen
        pairs = zip(together.network(index).parameters(), alone.parameters(), strict=True)
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_network_that_broke_breaks_no_other_and_stands_still_when_it_has_ended():
    together = SideBySide(network("loop"), 2)
    optimizer = AdamByRow(together.flat, rates=(1e-2, 1e-2), steps=(4, 2), clip=1.0)
    x, y = points()
    for step in range(4):
        if step == 2:
            ended = together.flat[1].detach().clone()
        optimizer.zero_grad()
        outputs, _ = together(x)  # both, though one has ended
        loss = (outputs - y).square().mean(dim=(1, 2))
        (loss * torch.tensor([1.0, float("nan") if step == 3 else 1.0])).sum().backward()
        optimizer.step()
    assert torch.equal(together.flat[1], ended)
    assert together.flat[0].isfinite().all()


def test_a_checkpoint_of_the_optimiser_goes_on():
    x, y = points()

    def steps(together, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            (together(x)[0] - y).square().mean(dim=(1, 2)).sum().backward()
            optimizer.step()

    def new():
        together = SideBySide(network("fnn"), 2)
        return together, AdamByRow(together.flat, rates=(1e-2, 2e-2), steps=(6, 6), clip=1.0)

    whole, first, second = new(), new(), new()
    steps(*whole, 6)
    steps(*first, 3)
    for ours, theirs in zip(second, first, strict=True):
        ours.load_state_dict(theirs.state_dict())
    steps(*second, 3)
    assert torch.equal(second[0].flat, whole[0].flat)
