"""Measurements of pictures: their adjoints, their spectra, and what they refuse."""

import pytest
import torch

from deqlab.nn import Blur, Mask, gaussian_kernel
from deqlab.nn.measurements.blur import check_boundary

GENERATOR = torch.Generator().manual_seed(0)
KERNEL = torch.randn(3, 5, generator=GENERATOR, dtype=torch.float64)
MEASUREMENTS = {
    "circular": Blur(KERNEL),
    "zero": Blur(KERNEL, boundary="zero"),
    "mask": Mask(torch.randn(6, 7, generator=GENERATOR, dtype=torch.float64)),
}
every_measurement = pytest.mark.parametrize("a", MEASUREMENTS.values(), ids=MEASUREMENTS)


def pictures(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def matrix(a, height, width):
    units = torch.eye(height * width, dtype=torch.float64).view(-1, height, width)
    return a(units).flatten(1).T


@every_measurement
@pytest.mark.parametrize("leading", [(), (2, 3)])
def test_its_adjoint_is_exact(a, leading):
    x, y = pictures(*leading, 6, 7), pictures(*leading, 6, 7, seed=2)
    assert float((a(x) * y).sum() - (x * a.adjoint(y)).sum()) == pytest.approx(0, abs=1e-12)
    assert float((a.normal(x) * y).sum() - (a(x) * a(y)).sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["circular", "mask"])
def test_its_normal_matrix_is_diagonal_in_the_basis_it_names(name):
    a, x = MEASUREMENTS[name], pictures(2, 6, 7)
    s = a.spectrum((6, 7))
    torch.testing.assert_close(a.scaled(x, s), a.normal(x), rtol=1e-12, atol=1e-13)
    back = a.scaled(a.normal(x) + 0.1 * x, 1 / (s + 0.1))
    torch.testing.assert_close(back, x, rtol=1e-11, atol=1e-12)


def test_a_blur_is_the_sum_of_its_definition():
    x = pictures(6, 7)
    for boundary in ("circular", "zero"):
        expected = torch.zeros_like(x)
        for i in range(6):
            for j in range(7):
                for di in range(-1, 2):
                    for dj in range(-2, 3):
                        row, column = i - di, j - dj
                        if boundary == "circular" or (0 <= row < 6 and 0 <= column < 7):
                            k = KERNEL[di + 1, dj + 2]
                            expected[i, j] += k * x[row % 6, column % 7]
        torch.testing.assert_close(Blur(KERNEL, boundary=boundary)(x), expected)


@every_measurement
def test_eigenvalues_lie_between_their_bounds(a):
    dense = matrix(a, 6, 7)
    s = torch.linalg.eigvalsh(dense.T @ dense)
    least, largest = a.eigenvalues((6, 7))
    assert least <= s[0] + 1e-14
    assert s[-1] <= largest <= 1.6 * s[-1]
    if a is not MEASUREMENTS["zero"]:
        assert least == pytest.approx(float(s[0]), abs=1e-9)
        assert largest == pytest.approx(float(s[-1]), rel=1e-10)


def test_a_kernel_of_the_size_of_the_picture_is_the_largest_that_it_takes():
    x = pictures(3, 5)
    for boundary in ("circular", "zero"):
        blur = Blur(KERNEL, boundary=boundary)
        dense, y = matrix(blur, 3, 5), pictures(3, 5, seed=3)
        torch.testing.assert_close(blur(x).flatten(), dense @ x.flatten())
        torch.testing.assert_close(blur.adjoint(y).flatten(), dense.T @ y.flatten())
        for size in ((2, 7), (6, 4)):
            refusal = rf"blur of 3 x 5 pixels is larger than the picture of {size[0]} x {size[1]}"
            with pytest.raises(ValueError, match=refusal):
                blur(pictures(*size))
            with pytest.raises(ValueError, match=refusal):
                blur.eigenvalues(size)


def test_a_gaussian_kernel_has_its_shape_and_sums_to_one():
    kernel = gaussian_kernel(5, 1.5).double()
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    assert float(kernel[2, 2] / kernel[2, 4]) == pytest.approx(2.71828 ** (4 / 4.5), rel=1e-4)
    assert torch.equal(kernel, kernel.T)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Blur(torch.ones(2, 3)), r"odd height and an odd width.*got the shape \(2, 3\)"),
        (lambda: Blur(torch.full((1, 1), torch.nan)), "kernel of a blur must be finite"),
        (lambda: check_boundary("mirror"), "boundary must be .*got 'mirror'"),
        (lambda: gaussian_kernel(4, 1.0), "size must be odd.*got 4"),
        (lambda: gaussian_kernel(3, 0.0), "std must be more than 0"),
        (lambda: Mask(torch.ones(3)), r"height and the width of a picture, got the shape \(3,\)"),
        (lambda: Mask(torch.full((1, 1), torch.inf)), "mask must be finite"),
        (
            lambda: Mask(torch.ones(2, 3))(torch.ones(3, 2)),
            "mask is of 2 x 3 pixels and .*3 x 2",
        ),
    ],
)
def test_what_is_no_measurement_is_refused_in_a_sentence(make, named):
    with pytest.raises(ValueError, match=named):
        make()
