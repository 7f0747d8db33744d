"""Text token by token: a warm start changes how much is evaluated, and not what is written."""

from dataclasses import replace

import pytest
import torch

from deqlab import Anderson
from deqlab.nn import (
    equilibrium_transformer,
    explicit_transformer,
    generate,
    hybrid_transformer,
)
from deqlab.nn.generation import _solved

TIGHT = Anderson(rtol=1e-6, max_steps=60)


def model(make=equilibrium_transformer, length=8, **options):
    torch.manual_seed(0)
    made = make(11, length, 16, 2, **options).double()
    with torch.no_grad():  # logits that differ, so that the likeliest token is no tie
        made.embedding.weight.mul_(20)
    return made


def greedy(model, tokens, count):
    """What a loop that knows nothing of states writes, from the same windows."""
    first = 0
    for _ in range(count):
        if tokens.shape[1] - first > 8:
            first = tokens.shape[1] - 4
        likeliest = model(tokens[:, first:])[:, -1].argmax(dim=-1, keepdim=True)
        tokens = torch.cat([tokens, likeliest], dim=1)
    return tokens


BEGUN = torch.tensor([[1, 2, 3], [7, 7, 0]])


@pytest.mark.parametrize("warm_start", [True, False])
@pytest.mark.parametrize("make", [equilibrium_transformer, hybrid_transformer])
def test_the_likeliest_text_is_that_of_a_loop_by_hand(make, warm_start):
    net = model(make, solver=TIGHT)
    found = generate(net, BEGUN, 15, temperature=0.0, warm_start=warm_start)
    with torch.no_grad():
        assert torch.equal(found.tokens, greedy(net, BEGUN, 15))
    assert found.converged == 1
    assert found.evaluations.shape == (15,)


def test_an_explicit_model_writes_too():
    net = model(explicit_transformer, layers=2)
    found = generate(net, BEGUN, 12, temperature=0.0)
    with torch.no_grad():
        assert torch.equal(found.tokens, greedy(net, BEGUN, 12))
    assert found.converged is None
    assert found.evaluations.tolist() == [1] * 12


@pytest.mark.slow
def test_a_warm_start_saves_evaluations_at_the_same_text():
    net = model(length=64, solver=replace(TIGHT, rtol=1e-3), cap=1.0)
    with torch.no_grad():  # as training does, so that there is something to iterate
        for block in net.body.cell.blocks:
            for parameter in block.parameters():
                parameter.mul_(3)
    texts, costs = [], []
    for warm_start in (True, False):
        generator = torch.Generator().manual_seed(5)
        found = generate(net, BEGUN, 40, generator=generator, warm_start=warm_start)
        texts.append(found.tokens)
        costs.append(found.evaluations.double().mean().item())
    assert torch.equal(*texts)
    assert costs[0] < 0.7 * costs[1]


def test_at_low_temperature_the_likeliest_token_wins_and_at_high_any():
    net = model(solver=TIGHT)
    likeliest = generate(net, BEGUN, 6, temperature=0.0).tokens
    assert torch.equal(generate(net, BEGUN, 6, temperature=1e-4).tokens, likeliest)
    hot = generate(net, BEGUN.repeat(40, 1), 20, temperature=1e4).tokens[:, 3:]
    counts = torch.bincount(hot.flatten(), minlength=11).double()
    # 1,600 draws, 145 of each token with a deviation of 11.5
    assert (counts - 1600 / 11).abs().max() < 60


def test_the_model_is_left_in_its_mode_and_long_beginnings_are_cut():
    net = model(solver=TIGHT).train()
    long = torch.randint(11, (1, 30), generator=torch.Generator().manual_seed(0))
    found = generate(net, long, 3, temperature=0.0)
    assert net.training
    assert torch.equal(found.tokens[:, :30], long)
    with torch.no_grad():
        assert torch.equal(found.tokens[:, 30], net.eval()(long[:, -8:])[:, -1].argmax(-1))


@pytest.mark.parametrize(
    ("tokens", "count", "temperature", "named"),
    [
        (torch.empty(1, 0, dtype=torch.int64), 3, 1.0, "at least one token to begin with"),
        (BEGUN, 0, 1.0, "count must be at least 1"),
        (BEGUN, 3, -1.0, "temperature must be 0 or more"),
        (BEGUN, 3, float("nan"), "temperature must be 0 or more"),
    ],
)
def test_what_is_out_of_its_domain_is_named(tokens, count, temperature, named):
    with pytest.raises((ValueError, TypeError), match=named):
        generate(model(), tokens, count, temperature=temperature)


@pytest.mark.parametrize("length", [6, 4])
def test_a_solve_starts_where_the_positions_that_stay_ended_and_from_the_last_of_them(length):
    """Six positions behind five: one is new; four behind five: the older two have left as well."""
    net = model(solver=replace(TIGHT, record=(1,)))
    before = torch.randn(2, 5, 16).double()
    solution = _solved(net.body, torch.randn(2, length, 16).double(), before)
    expected = torch.cat([before[:, 5 - (length - 1) :], before[:, -1:]], dim=1)
    assert torch.equal(solution.states[0], expected)
