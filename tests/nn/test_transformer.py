"""The transformer cell is its formula; what it may not see does not change its equilibrium."""

import math

import pytest
import torch
from torch.nn.functional import gelu

from deqlab import DEQ, Anderson
from deqlab.linalg.attention import uses_fused_attention
from deqlab.nn import TransformerCell, TransformerLayers, parameter_groups
from tests.problems import normal

TIGHT = Anderson(rtol=1e-12, max_steps=200)


def some_cell(width=8, heads=2, *, seed=0, sharpness=10.0, cap=0.2, **options):
    """A cell whose attention is far from uniform: initial weights hardly tell positions apart."""
    torch.manual_seed(seed)
    cell = TransformerCell(width, heads, cap=cap, **options).double()
    with torch.no_grad():
        for parameter in cell.blocks.parameters():
            parameter.mul_(sharpness if parameter.ndim > 1 else 1 + 0.3 * torch.rand(width))
        cell.gate.add_(torch.randn(width))
    return cell


def rms(h):
    return h / (h.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()


def attended(attention, y, visible):
    """Attention as a sum over what each position sees, one sequence and one head at a time."""
    batch, length, width = y.shape
    size = width // attention.heads
    weights = attention.project.weight.view(3, attention.heads, size, width)
    out = torch.zeros_like(y)
    for row in range(batch):
        for head in range(attention.heads):
            q, k, v = (y[row] @ weights[i, head].T for i in range(3))
            if attention.normalised:
                q, k = rms(q), rms(k)
            for i in range(length):
                keys = [j for j in range(length) if visible[row, i, j]]
                logits = torch.stack([q[i] @ k[j] / math.sqrt(size) for j in keys])
                taken = sum(p * v[j] for p, j in zip(logits.softmax(dim=0), keys, strict=True))
                columns = slice(head * size, (head + 1) * size)
                out[row, i] += attention.out.weight[:, columns] @ taken
    return out


def formula(cell, z, x, visible):
    """f(z, x) as the module docstring has it, from definitions."""
    h = x + cell.cap * torch.sigmoid(cell.gate) * z
    for block in cell.blocks:
        y = rms(h) * block.before_attention.weight
        h = h + attended(block.attention, y, visible)
        y = rms(h) * block.before_mlp.weight
        h = h + gelu(y @ block.up.weight.T) @ block.down.weight.T
    return rms(h)


@pytest.mark.parametrize("query_key_norm", [True, False])
@pytest.mark.parametrize(
    ("causal", "masked", "blocks"), [(True, False, 2), (False, True, 1), (True, True, 1)]
)
def test_the_cell_is_its_formula(causal, masked, blocks, query_key_norm):
    cell = some_cell(causal=causal, blocks=blocks, query_key_norm=query_key_norm)
    z, x, weights = normal(3, 2, 4, 8, seed=1)
    visible, keywords = torch.ones(2, 4, 4, dtype=torch.bool), {}
    if masked:
        mask = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(2)) < 0.5
        visible, keywords = mask | torch.eye(4, dtype=torch.bool), {"mask": mask}
    if causal:
        visible = visible.tril()
    both = []
    for result in (cell(z, x, **keywords), formula(cell, z, x, visible)):
        gradients = torch.autograd.grad((weights * result).sum(), list(cell.parameters()))
        both.append([result, *gradients])
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_without_feedback_it_is_the_explicit_network_of_its_blocks():
    cell, (z, x) = some_cell(blocks=2), normal(2, 3, 5, 8, seed=3)
    layers = TransformerLayers(8, 2, layers=2).double()
    layers.load_state_dict({"blocks." + k: v for k, v in cell.blocks.state_dict().items()})
    assert not torch.allclose(cell(z, x), layers(x))
    cell.knob.value.zero_()
    assert torch.equal(cell(z, x), layers(x))
    assert cell.feedback.abs().max() == 0


def test_the_knob_is_the_cap_and_is_saved():
    cell = some_cell()
    knob = cell.knob
    assert (knob.name, knob.highest) == ("cap", 1.0)
    knob.value.mul_(0.5)
    assert cell.state_dict()["cap"].item() == pytest.approx(0.1)
    assert (cell.feedback < 0.1).all()
    torch.testing.assert_close(TransformerCell(8, 2).feedback, torch.full((8,), 0.03))


def test_the_equilibrium_of_a_position_does_not_depend_on_what_follows():
    deq, x = DEQ(some_cell(), solver=TIGHT, on_failure="raise"), normal(2, 6, 8, seed=4)
    other = x.clone()
    other[:, 4:] = normal(2, 2, 8, seed=5)
    z, changed = deq(x), deq(other)
    torch.testing.assert_close(changed[:, :4], z[:, :4], rtol=1e-9, atol=1e-10)
    assert (changed[:, 4:] - z[:, 4:]).abs().max() > 0.1


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("rows_independent", [True, False])
def test_padding_changes_no_equilibrium(causal, rows_independent):
    cell = some_cell(causal=causal)
    deq = DEQ(cell, solver=TIGHT, on_failure="raise", rows_independent=rows_independent)
    lengths, x = [6, 4, 1], normal(3, 6, 8, seed=6)
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    padded = deq(x, mask=mask[:, None])
    assert padded.isfinite().all()
    for i, length in enumerate(lengths):
        alone = deq(x[i : i + 1, :length])
        torch.testing.assert_close(padded[i : i + 1, :length], alone, rtol=1e-9, atol=1e-10)


def test_masks_have_the_dimensions_in_front_of_the_input():
    deq, x = DEQ(some_cell(causal=False), solver=TIGHT), normal(2, 3, 4, 8, seed=7)
    mask = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(8)) < 0.5
    flat = deq(x.flatten(0, 1), mask=mask.flatten(0, 1))
    torch.testing.assert_close(deq(x, mask=mask).flatten(0, 1), flat, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(deq(x[0, 0], mask=mask[0, 0]), flat[0], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_fused(masked):
    cell, x = TransformerCell(8, 2), torch.randn(2, 4, 8)
    keywords = {"mask": torch.ones(2, 1, 4, dtype=torch.bool)} if masked else {}
    assert uses_fused_attention(cell(x, x, **keywords))


def test_normalised_queries_and_keys_do_not_grow_with_their_weights():
    for normalised in (True, False):
        cell, (z, x) = some_cell(query_key_norm=normalised), normal(2, 2, 5, 8, seed=9)
        before = cell(z, x)
        with torch.no_grad():
            cell.blocks[0].attention.project.weight[:16] *= 50
        same = torch.allclose(cell(z, x), before, rtol=1e-3, atol=1e-4)  # eps is left of them
        assert same == normalised


def test_the_gate_learns_ten_times_as_fast_and_decays_not():
    cell = TransformerCell(8, 2)
    groups = parameter_groups(torch.nn.ModuleList([cell, cell]), lr=1e-3, weight_decay=0.1)
    assert sum(len(group["params"]) for group in groups) == len(list(cell.parameters()))
    assert {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]} == {
        id(p): (0.01 if p is cell.gate else 0.001, 0.1 if p.ndim > 1 else 0.0)
        for p in cell.parameters()
    }
    cell.gate.requires_grad_(False)
    assert len(parameter_groups(cell, lr=1e-3)) == 1
    tied = torch.nn.ModuleList([torch.nn.Linear(8, 8, bias=False) for _ in range(2)])
    tied[1].weight = tied[0].weight
    assert [len(group["params"]) for group in parameter_groups(tied, lr=1e-3)] == [1]


def test_groups_that_cannot_be_are_refused():
    cell = TransformerCell(8, 2)
    cell.rate_factors = {"gates": 10.0}
    with pytest.raises(ValueError, match=r"of TransformerCell names 'gates', which is none of its"):
        parameter_groups(cell, lr=1e-3)
    with pytest.raises(ValueError, match=r"lr must be more than 0, and finite, got 0\.0"):
        parameter_groups(cell, lr=0.0)
    with pytest.raises(ValueError, match=r"weight_decay must be 0 or more, and finite, got -1\.0"):
        parameter_groups(cell, lr=1e-3, weight_decay=-1.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"heads": 3}, "width must be a multiple of heads = 3, got 8"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"cap": 1.5}, "cap must be from 0 to 1, got 1.5"),
        ({"cap": math.nan}, "cap must be from 0 to 1, got nan"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        TransformerCell(8, **({"heads": 2} | settings))


@pytest.mark.parametrize(
    ("mask", "error", "sentence"),
    [
        (torch.ones(3, 1, 4), TypeError, r"boolean tensor, .* got a tensor of torch\.float32"),
        (torch.ones(3, 4, dtype=torch.bool), ValueError, r"\.\.\., 1, 4\) .* got \(3, 4\)"),
        (torch.ones(2, 1, 4, dtype=torch.bool), ValueError, r"of 3 sequences of length 4 in front"),
        (torch.ones(3, 1, 5, dtype=torch.bool), ValueError, r"got \(3, 1, 5\)"),
    ],
)
def test_a_mask_of_other_sequences_is_refused(mask, error, sentence):
    with pytest.raises(error, match=f"mask must be .*{sentence}"):
        DEQ(TransformerCell(8, 2))(torch.randn(3, 4, 8), mask=mask)


@pytest.mark.parametrize("shape", [(8,), (2, 4, 6)])
def test_an_input_that_is_no_sequence_of_its_width_is_refused(shape):
    with pytest.raises(ValueError, match=r"takes sequences of shape \(\.\.\., T, 8\), got \("):
        DEQ(TransformerCell(8, 2))(torch.randn(shape))
