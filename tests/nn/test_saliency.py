"""Grad-CAM against its definition written by hand, and measures of spread in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deqlab.nn import multiscale, resnet, saliency
from tests.problems import F64, normal

pytest.importorskip("captum")


class Curved(nn.Module):
    """A readout whose gradient differs from pixel to pixel."""

    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Linear(channels * 16, 3)

    def forward(self, features):
        return self.linear(torch.tanh(features).square().flatten(1))


def by_hand(model, x, y):
    """Equations (1) and (2) of Selvaraju et al., one image at a time."""
    found = []
    for image, label in zip(x, y.tolist(), strict=True):
        with torch.no_grad():
            features = model[0](image[None])
        features.requires_grad_()
        (slope,) = torch.autograd.grad(model[1](features)[0, label], features)
        total = torch.zeros(features.shape[2:], dtype=x.dtype)
        for k in range(features.shape[1]):
            total += slope[0, k].sum() / slope[0, k].numel() * features[0, k].detach()
        found.append(torch.where(total > 0, total, torch.zeros_like(total)))
    return torch.stack(found)


def networks():
    torch.manual_seed(0)
    yield nn.Sequential(resnet(3, (8,), 3)[0], Curved(8 * 4)).double()
    yield nn.Sequential(multiscale(3, (8, 8), 3)[0], Curved(8 * 4)).double()
    yield multiscale(3, (8, 8), 3).double()


def test_maps_are_those_of_the_definition(monkeypatch):
    monkeypatch.setattr(saliency, "ROWS", 2)  # three batches, the last of one image
    x, y = normal(5, 3, 8, 8, seed=1), torch.tensor([0, 1, 2, 2, 0])
    for model in networks():
        found = saliency.grad_cam(model, x, y)
        assert not found.requires_grad
        assert found.max() > 0
        torch.testing.assert_close(found, by_hand(model, x, y), rtol=1e-6, atol=1e-9)


def test_behind_an_average_and_a_linear_layer_they_are_class_activation_maps():
    # Zhou et al. (2016): sum_k w_k A_k; Grad-CAM has it over the number of pixels.
    torch.manual_seed(0)
    model, x = resnet(3, (8,), 3).double(), normal(4, 3, 8, 8, seed=2)
    y = torch.tensor([2, 1, 0, 2])
    weights, features = model[1][-1].weight[y], model[0](x)
    expected = torch.einsum("bk,bkhw->bhw", weights, features).clamp_min(0) / 64
    torch.testing.assert_close(saliency.grad_cam(model, x, y), expected, rtol=1e-10, atol=1e-12)


def test_entropy_is_that_of_as_many_equal_pixels():
    for count in (1, 2, 5, 12):
        one = torch.zeros(1, 12)
        one[0, :count] = 3.5
        (found,) = saliency.normalised_entropy(one.view(1, 3, 4)).tolist()
        assert found == pytest.approx(math.log(count) / math.log(12), abs=1e-12)


def test_entropy_of_unequal_pixels():
    (found,) = saliency.normalised_entropy(torch.tensor([[[1.0, 3.0], [0.0, 0.0]]])).tolist()
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(4)
    assert found == pytest.approx(expected, abs=1e-12)


def test_area_counts_pixels_above_half_of_the_maximum():
    two = torch.tensor([[[1.0, 0.5], [0.6, 0.0]], [[0.1, 0.1], [0.1, 0.1]]])
    assert saliency.area_above_half(two).tolist() == [0.5, 1.0]


def test_a_map_of_zeros_has_neither_entropy_nor_area():
    zeros = torch.zeros(1, 2, 2)
    assert saliency.normalised_entropy(zeros).isnan().all()
    assert saliency.area_above_half(zeros).isnan().all()
    assert saliency.density(torch.zeros(1, 1, 2, 2)).isnan().all()


def test_density_is_the_share_of_equal_features():
    features = torch.zeros(2, 3, 2, 2)
    features[0, 1] = -2.0
    features[1] = torch.tensor([1.0, -1.0])[None, None, :]
    assert saliency.density(features).tolist() == pytest.approx([4 / 12, 1.0], abs=1e-12)


@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_no_measure_depends_on_the_size_of_a_map(scale, seed):
    some = normal(3, 4, 4, seed=seed).abs()
    for measure in (saliency.normalised_entropy, saliency.area_above_half):
        torch.testing.assert_close(measure(scale * some), measure(some), rtol=1e-9, atol=1e-9)
        assert ((measure(some) >= 0) & (measure(some) <= 1)).all()
    torch.testing.assert_close(
        saliency.density(scale * some[:, None]), saliency.density(some[:, None])
    )
    assert saliency.density(some[:, None]).dtype == F64
