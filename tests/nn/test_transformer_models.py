"""Transformers of tokens: what they share, and which explicit one costs what a DEQ costs."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from deqlab import Anderson
from deqlab.costs import flops, num_parameters
from deqlab.nn import (
    Transformer,
    equilibrium_transformer,
    explicit_transformer,
    layers_of_equal_flops,
    transformer_twin,
)

TOKENS = torch.randint(7, (3, 10), generator=torch.Generator().manual_seed(0))


def some_model(**options):
    torch.manual_seed(0)
    return equilibrium_transformer(7, 12, 8, 2, **options)


def step_flops(model):
    logits = None

    def step():
        nonlocal logits
        logits = model(TOKENS)
        cross_entropy(logits.flatten(0, 1), TOKENS.flatten()).backward()

    return flops(step)[0]


def test_logits_are_read_off_by_the_embedding():
    model = explicit_transformer(7, 12, 8, 2, layers=1)
    states = []
    model.body.register_forward_hook(lambda module, inputs, out: states.append((inputs, out)))
    logits = model(TOKENS)
    ((x,), out) = states[0]
    assert torch.equal(x, model.embedding.weight[TOKENS] + model.position.weight[:10])
    torch.testing.assert_close(logits, model.norm(out) @ model.embedding.weight.T)


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_twin_of_equal_parameters_lacks_the_gates_only(blocks):
    model = some_model(blocks=blocks)
    twin = transformer_twin(model)
    assert num_parameters(model) == num_parameters(twin) + 8
    missing = model.state_dict().keys() - {
        name.replace("body.", "body.cell.") for name in twin.state_dict()
    }
    assert missing == {"body.cell.gate", "body.cell.cap"}


def test_the_twin_of_equal_flops_costs_what_a_step_of_the_deq_costs():
    model = some_model(solver=Anderson(rtol=1e-4), query_key_norm=False)
    layers = layers_of_equal_flops(model, TOKENS)
    twin = transformer_twin(model, layers=layers)
    assert all(p.grad is None for p in model.parameters())
    layer = step_flops(explicit_transformer(7, 12, 8, 2, layers=1))
    assert len(twin.body.blocks) == layers > 2
    assert not twin.body.blocks[0].attention.normalised
    budget = step_flops(model)
    assert abs(step_flops(twin) - budget) <= layer / 2
    assert layers_of_equal_flops(model, TOKENS, budget=2 * budget) > layers
    assert layers_of_equal_flops(model, TOKENS, budget=0) == 1


def test_a_step_of_one_layer_costs_its_products():
    # Each product costs as much again for its input and for its weight; attention takes two
    # products forward and five backward, one of them once more.
    batch, length = TOKENS.shape
    positions, width = batch * length, 8
    weights = 12 * width**2 + 7 * width
    attention = 2 * batch * length**2 * width
    count = step_flops(explicit_transformer(7, 12, width, 2, layers=1))
    assert count == 3 * 2 * positions * weights + 7 * attention


def test_both_learn_to_copy_and_the_mask_and_the_start_reach_the_body():
    torch.manual_seed(1)
    for model in (some_model(), explicit_transformer(7, 12, 8, 2, layers=1)):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(15):
            optimizer.zero_grad()
            loss = cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.flatten())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0] - 0.2
        mask = torch.ones(3, 1, 10, dtype=torch.bool)
        torch.testing.assert_close(model(TOKENS, mask=mask), model(TOKENS), rtol=1e-4, atol=1e-5)
    deq = some_model()
    deq(TOKENS, z0=torch.zeros(3, 10, 8))
    assert deq.body.last.converged.all()


def test_what_cannot_be_is_refused():
    with pytest.raises(
        ValueError, match="the model knows 12 positions, got sequences of length 13"
    ):
        some_model()(torch.zeros(1, 13, dtype=torch.int64))
    with pytest.raises(
        ValueError, match=r"body is DEQ\(TransformerCell\(\.\.\.\)\), got a body of"
    ):
        transformer_twin(explicit_transformer(7, 12, 8, 2, layers=1))
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        Transformer(7, 0, 8, nn.Identity())
    with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
        explicit_transformer(7, 12, 8, 2, layers=0)
