"""Parameters of the named activations."""

import math

import pytest
import torch

from deqlab.activations import ELU, HardTanh, LeakyReLU, LReLU, Polynomial, ReLU, Swish
from tests.activations.cases import tensor


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LeakyReLU(math.inf), "slope must be finite, got inf"),
        (lambda: LReLU(1.0, math.nan), "b must be finite, got nan"),
        (lambda: Swish(math.nan), "beta must be finite, got nan"),
        (lambda: ELU(math.inf), "alpha must be finite, got inf"),
        (lambda: HardTanh(1.0, 0.0), "c must be above 0, got 0.0"),
        (lambda: Polynomial(()), "coefficients needs at least one number, the constant term"),
        (lambda: Polynomial((0.0, math.inf)), r"coefficients\[1\] must be finite, got inf"),
    ],
)
def test_parameters_outside_their_domain_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_the_order_of_the_slopes_of_l_relu_does_not_matter():
    u = tensor(-2.0, 3.0)
    assert LReLU(0.3, 0.8)(u).tolist() == LReLU(0.8, 0.3)(u).tolist() == [-0.6, 2.4000000000000004]


def test_equal_slopes_have_no_kink():
    assert LReLU(0.5, 0.5).kinks == ()
    assert LReLU(0.5, 0.4).kinks == (0.0,)


def test_a_polynomial_of_high_degree_is_exact():
    # He_20 is orthogonal to all others: its dual is 20! rho^20.
    he = torch.zeros(21, dtype=torch.float64)
    for j in range(11):
        he[20 - 2 * j] = (
            (-1) ** j * math.factorial(20) / (2**j * math.factorial(j) * math.factorial(20 - 2 * j))
        )
    found = Polynomial(tuple(he.tolist())).dual(*tensor(1.0, 1.0, 0.8))
    assert float(found) == pytest.approx(math.factorial(20) * 0.8**20, rel=1e-11)


def test_a_constant_is_a_polynomial():
    phi = Polynomial((2.0,))
    assert phi.dual(*tensor(1.0, 2.0, 0.3)).tolist() == 4.0
    assert phi.dual_derivative(*tensor(1.0, 2.0, 0.3)).tolist() == 0.0


def test_relu_near_the_boundary_keeps_its_digits():
    # E[phi'(u) phi'(v)] = (pi - theta) / (2 pi), theta = 2 asin(sqrt((1 - rho) / 2)).
    gap = 2.0**-40
    theta = 2 * math.asin(math.sqrt(gap / 2))
    for sign, expected in ((1, (math.pi - theta) / (2 * math.pi)), (-1, theta / (2 * math.pi))):
        found = ReLU().dual_derivative(*tensor(1.0, 1.0, sign * (1 - gap)))
        assert float(found) == pytest.approx(expected, rel=1e-13)
