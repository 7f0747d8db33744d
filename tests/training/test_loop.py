"""The training loop, against the same steps written out by hand."""

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from deqlab import Solution
from deqlab.nn import DEQ, DenseCell
from deqlab.training import Loop
from tests.problems import normal

BATCHES = [(normal(4, 3, seed=i).float(), normal(4, 2, seed=10 + i).float()) for i in range(5)]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))


def loop_of(model, *, notes=None, rate=0.1):
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    return Loop(
        loss=lambda batch: (mse_loss(model(batch[0]), batch[1]), notes),
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5),
    )


def by_hand(model, rate=0.1):
    """Momentum and the schedule in plain arithmetic."""
    losses, velocity = [], [torch.zeros_like(p) for p in model.parameters()]
    for index, (x, y) in enumerate(BATCHES):
        loss = mse_loss(model(x), y)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, v, g in zip(model.parameters(), velocity, gradients, strict=True):
                v.mul_(0.9).add_(g)
                p.sub_(rate * 0.5 ** (index // 2) * v)
        losses.append(loss.item())
    return losses


def test_its_steps_are_those_of_the_optimiser_and_the_schedule():
    model, other = network(), network()
    steps = list(loop_of(model).run(BATCHES))
    assert [step.loss.item() for step in steps] == pytest.approx(by_hand(other), rel=1e-6)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
    assert [step.index for step in steps] == [1, 2, 3, 4, 5]


def test_lbfgs_evaluates_the_loss_of_a_batch_as_often_as_it_asks_for():
    model, other, evaluations = network().double(), network().double(), []
    settings = {"max_iter": 4, "line_search_fn": "strong_wolfe"}
    x, y = (part.double() for part in BATCHES[0])

    def loss(batch):
        evaluations.append(mse_loss(model(x), y))
        return evaluations[-1], None

    def closure():
        gold.zero_grad()
        value = mse_loss(other(x), y)
        value.backward()
        return value

    gold = torch.optim.LBFGS(other.parameters(), **settings)
    optimizer = torch.optim.LBFGS(model.parameters(), **settings)
    steps = list(Loop(loss=loss, optimizer=optimizer).run([None] * 3))
    before = [gold.step(closure).item() for _ in range(3)]
    assert [step.loss.item() for step in steps] == pytest.approx(before, rel=1e-12)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert len(evaluations) == optimizer.state[next(model.parameters())]["func_evals"] > 12


def test_a_batch_is_asked_for_only_when_its_turn_comes_and_a_loop_may_be_left_anywhere():
    asked, model = [], network()

    def batches():
        for index, batch in enumerate(BATCHES):
            asked.append(index)
            yield batch

    for step in loop_of(model).run(batches()):
        assert len(asked) == step.index
        if step.index == 3:
            break
    assert asked == [0, 1, 2]


def test_no_step_is_taken_where_the_loss_is_small_enough():
    model = network()
    x, y = BATCHES[0]
    before = [p.clone() for p in model.parameters()]
    loss = mse_loss(model(x), y).item()
    assert list(loop_of(model).run([BATCHES[0]] * 3, stop_at=loss)) == []
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    steps = list(loop_of(model).run([BATCHES[0]] * 50, stop_at=loss / 2))
    assert 0 < len(steps) < 50
    assert steps[-1].loss.item() > loss / 2 >= mse_loss(model(x), y).item()


def test_the_loss_is_a_number_without_a_tape_and_the_notes_come_as_they_are():
    notes = object()
    (step,) = loop_of(network(), notes=notes).run(BATCHES[:1])
    assert not step.loss.requires_grad
    assert step.notes is notes


def test_flops_are_counted_where_asked_and_slow_no_clock():
    steps = list(loop_of(network()).run(BATCHES, count_flops={1, 4}))
    # Forward: 2 (4 x 3 x 6 + 4 x 6 x 2); backward: as much for the weights, and the second layer
    # passes its cotangent on.
    by_hand = 2 * (4 * 3 * 6 + 4 * 6 * 2) * 2 + 2 * 4 * 6 * 2
    assert [step.flops for step in steps] == [by_hand, None, None, by_hand, None]
    assert [step.seconds > 0 for step in steps] == [False, True, True, False, True]


def test_a_deq_tells_of_its_solve():
    torch.manual_seed(0)
    layer = DEQ(DenseCell(3, 4))
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)

    def loss(batch):
        solution = layer.solve(batch[0])
        return solution.value.square().mean(), solution

    steps = list(Loop(loss=loss, optimizer=optimizer).run(BATCHES))
    assert all(isinstance(step.notes, Solution) for step in steps)
    assert all(step.notes.converged.all() for step in steps)
    assert steps[-1].loss < steps[0].loss
