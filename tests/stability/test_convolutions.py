"""The bound on a convolution stands above its exact norm, close where the maps are large."""

import math

import pytest
import torch

from deqlab.stability import convolution_bound
from tests.nn.operators import exact_norm
from tests.problems import normal

SHAPES = [
    # outputs, inputs, kernel, size, groups
    (3, 2, 3, (5, 6), 1),
    (2, 3, 5, (6, 4), 1),
    (4, 2, 3, (4, 4), 2),
    (2, 2, 1, (3, 3), 1),
    (2, 2, 5, (1, 2), 1),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_norm_exceeds_it(shape):
    outputs, inputs, kernel, size, groups = shape
    for seed in range(5):
        filters = normal(outputs, inputs, kernel, kernel, seed=seed)
        exact = exact_norm(filters, size, groups=groups)
        at_size = convolution_bound(filters, size, groups=groups)
        assert exact <= at_size
        assert at_size <= (1 + 1e-9) * convolution_bound(filters, groups=groups)
        for stride in (2, 3):
            strided = exact_norm(filters, size, groups=groups, stride=stride)
            assert strided <= convolution_bound(filters, size, groups=groups, stride=stride)


@pytest.mark.parametrize("kernel", [3, 5])
def test_it_stands_above_filters_whose_wave_does_not_fit_a_torus_of_the_size_of_the_map(kernel):
    # (-1)^(i + j) has its largest symbol at the highest frequency, which an odd torus lacks.
    sign = (-1.0) ** torch.arange(kernel, dtype=torch.float64)
    filters = torch.outer(sign, sign)[None, None]
    for size in ((kernel, kernel), (kernel + 2, kernel + 2)):
        exact = exact_norm(filters, size)
        circular = torch.fft.fft2(filters, s=[max(n, kernel) for n in size]).abs().max()
        assert circular < exact <= convolution_bound(filters, size)


@pytest.mark.parametrize("stride", [{}, {"stride": 2}])
def test_it_comes_close_as_the_maps_grow(stride):
    filters = normal(1, 1, 3, 3, seed=0)
    gaps = []
    for pixels in (4, 8, 16):
        size = (pixels, pixels)
        gaps.append(
            convolution_bound(filters, size, **stride) / exact_norm(filters, size, **stride) - 1
        )
    assert 0 < gaps[2] < 0.02
    assert gaps[2] < gaps[1] < gaps[0]


def test_it_is_exact_where_the_worst_image_is_an_eigenvector_of_both():
    # The identity, and a shift, which loses a border and no norm.
    for tap in ((1, 1), (0, 2)):
        filters = torch.zeros(1, 1, 3, 3)
        filters[0, 0, tap[0], tap[1]] = 2
        assert convolution_bound(filters, (4, 4)) == pytest.approx(2, rel=1e-11)
        assert convolution_bound(filters) == pytest.approx(2, rel=1e-11)


def test_filters_without_a_middle_and_empty_sizes_are_refused_and_nan_stays_nan():
    with pytest.raises(ValueError, match="odd size, got 2 x 2"):
        convolution_bound(torch.ones(1, 1, 2, 2), (4, 4))
    with pytest.raises(ValueError, match=r"size must be at least 1 x 1, got \(0, 4\)"):
        convolution_bound(torch.ones(1, 1, 3, 3), (0, 4))
    assert math.isnan(convolution_bound(torch.full((1, 1, 3, 3), math.nan), (4, 4)))
