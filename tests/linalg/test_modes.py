"""Maps on the lowest Fourier modes against torch's own transforms and dense matrices."""

import pytest
import torch

from deqlab.linalg.modes import act_on_modes, blocks_of, lowest_modes
from tests.problems import normal

SIZES = [(7, 7), (11, 8), (8, 13)]


def modes_of(m, height, width):
    return lowest_modes(m, height, width, dtype=torch.float64, device=torch.device("cpu"))


def by_full_transform(z, free):
    """The map mode by mode, on all of both half-planes, by the transform of complex fields."""
    m = len(free) // 2
    spectrum = torch.fft.fft2(z)
    image = torch.zeros(len(z), free.shape[2], *z.shape[2:], dtype=spectrum.dtype)
    for j in range(-m, m + 1):
        for k in range(-m, m + 1):
            one, other = free[m + j, m + k], free[m - j, m - k]
            matrix = torch.complex(one + other, one - other) / 2
            image[:, :, j, k] = spectrum[:, :, j, k] @ matrix.T
    return torch.fft.ifft2(image)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("m", [1, 2, 4])
def test_it_is_the_map_of_its_definition_and_keeps_fields_real(size, m):
    z, free = normal(3, 2, *size, seed=1), normal(2 * m - 1, 2 * m - 1, 4, 2, seed=2)
    expected = by_full_transform(z, free)
    assert expected.imag.abs().max() < 1e-13
    found = act_on_modes(z, blocks_of(free), modes_of(m, *size))
    torch.testing.assert_close(found, expected.real, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", SIZES)
def test_its_norm_is_that_of_its_largest_matrix_at_every_resolution(size):
    blocks = blocks_of(normal(7, 7, 2, 2, seed=3))
    units = torch.eye(2 * size[0] * size[1], dtype=torch.float64).view(-1, 2, *size)
    dense = act_on_modes(units, blocks, modes_of(4, *size)).flatten(1)
    norm = torch.linalg.matrix_norm(dense, ord=2)
    largest = torch.linalg.svdvals(blocks)[..., 0].max()
    torch.testing.assert_close(norm, largest, rtol=1e-12, atol=0)


def test_a_smooth_field_is_mapped_alike_at_two_resolutions():
    """Modes are numbered and not measured in points: a coarse grid sees a finer one's values."""
    free = normal(5, 5, 1, 1, seed=4)

    def field(n):
        x = torch.arange(n, dtype=torch.float64) / n * 2 * torch.pi
        return (torch.sin(x[:, None] + 2 * x) + torch.cos(x)[:, None])[None, None]

    coarse, fine = (act_on_modes(field(n), blocks_of(free), modes_of(3, n, n)) for n in (8, 24))
    torch.testing.assert_close(fine[..., ::3, ::3], coarse, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("m", "size", "named"),
    [
        (5, (9, 8), "9 x 8 points have no 5 modes each way, which take 9 points .* at most 4"),
        (2, (2, 9), "at most 1"),
    ],
)
def test_more_modes_than_the_grid_has_are_refused(m, size, named):
    with pytest.raises(ValueError, match=named):
        modes_of(m, *size)
