"""The convolutional classifier and its explicit twins: shapes, equal costs, training."""

import pytest
import torch
from torch import nn

from deqlab import Picard
from deqlab.costs import num_parameters
from deqlab.nn import ConvFrame, conv_deq, conv_twin, training_flops
from deqlab.nn.models.conv import blocks_of_equal_flops, channels_of_equal_parameters
from deqlab.nn.models.pair import forward
from deqlab.nn.models.twins import size_of_equal_flops

COARSE = ConvFrame(images=(1, 28, 28), num_classes=10)
FINE = ConvFrame(images=(1, 28, 28), num_classes=10, halvings=2, fields=7)


def batch(frame, size=4):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, *frame.images, generator=generator)
    return x, torch.randint(frame.num_classes, (size,), generator=generator)


@pytest.mark.parametrize(("frame", "side"), [(COARSE, 14), (FINE, 7)])
def test_both_have_maps_of_the_size_of_the_frame_and_read_its_fields(frame, side):
    assert frame.size == (side, side)
    x, _ = batch(frame)
    torch.manual_seed(0)
    for model in (conv_deq(frame, 8), conv_twin(frame, 8)):
        maps, scores, _ = forward(model, x)
        assert maps.shape == (4, 8, side, side)
        part = side // frame.fields
        means = maps.unfold(2, part, part).unfold(3, part, part).mean(dim=(4, 5))
        linear = model[1][-1]
        expected = means.flatten(1) @ linear.weight.T + linear.bias
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_the_published_prototypes_have_these_parameters():
    # 14 x 14 x 16 with coarse pooling, and 7 x 7 x 32 read at every position.
    assert num_parameters(conv_deq(COARSE, 16, arrangement="outer")) == 5514
    assert num_parameters(conv_deq(COARSE, 16)) == 7802
    assert num_parameters(conv_twin(COARSE, 16)) == 5546
    assert num_parameters(conv_deq(FINE, 32, arrangement="outer")) == 39146
    assert num_parameters(conv_twin(FINE, 32)) == 39210


@pytest.mark.parametrize("blocks", [1, 2])
def test_no_channels_have_more_nearly_the_parameters_of_the_deq(blocks):
    model = conv_deq(COARSE, 16)
    gaps = {
        channels: abs(num_parameters(conv_twin(COARSE, channels, blocks=blocks)) - 7802)
        for channels in range(4, 40, 4)
    }
    assert gaps[channels_of_equal_parameters(COARSE, model, blocks=blocks)] == min(gaps.values())


def test_no_blocks_take_more_nearly_the_flops_of_the_deq():
    x, y = batch(COARSE, 1)
    none, one = (training_flops(conv_twin(COARSE, 4, blocks=blocks), x, y) for blocks in (0, 1))
    for blocks in (0.4, 2.4, 2.6):  # each block costs the same
        budget = int(none + blocks * (one - none))
        assert blocks_of_equal_flops(COARSE, 4, budget, x, y) == round(blocks)
    with pytest.raises(ValueError, match="no size reaches the budget of 1000000000000 FLOPs"):
        size_of_equal_flops(lambda b: conv_twin(COARSE, 4, blocks=b), 10**12, range(2), x, y)


def test_flops_are_those_of_all_evaluations_and_gradients_are_left_as_they_were():
    x, y = batch(COARSE)
    counts = []
    for steps in (4, 8, 12):
        torch.manual_seed(0)
        model = conv_deq(COARSE, 8, solver=Picard(max_steps=steps, rtol=1e-12))
        model[0][1].on_failure = "ignore"
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        counts.append(training_flops(model, x, y))
        assert all((p.grad == 1).all() for p in model.parameters())
    one = 2 * 2 * 4 * 14 * 14 * 8 * 8 * 9  # two convolutions of four samples
    assert counts[1] - counts[0] >= 4 * one
    assert counts[2] - counts[1] >= 4 * one


@pytest.mark.parametrize("arrangement", ["inner", "outer"])
def test_a_step_of_training_lowers_the_loss_and_reaches_every_weight(arrangement):
    x, y = batch(FINE, 16)
    torch.manual_seed(0)
    model = conv_deq(FINE, 8, arrangement=arrangement, on_failure="raise")
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for _ in range(4):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_a_frame_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="fields must be at most 7, the smaller side of the map"):
        ConvFrame(images=(1, 28, 28), num_classes=10, halvings=2, fields=8)
    with pytest.raises(ValueError, match="halvings must be at least 1, got 0"):
        ConvFrame(images=(1, 28, 28), num_classes=10, halvings=0)
    with pytest.raises(ValueError, match=r"positive multiples of groups = 4, got \[6\]"):
        conv_deq(COARSE, 6)
