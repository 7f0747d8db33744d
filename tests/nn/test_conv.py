"""The convolutional cell is its formula, and what it certifies is true."""

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Phantom, Picard
from deqlab.nn import ConvCell
from deqlab.nn.cells.conv import check_arrangement
from tests.nn.maps import convolution, normalised, relu
from tests.nn.operators import exact_norm
from tests.problems import normal


def some_cell(arrangement="inner", *, seed=0, **options):
    torch.manual_seed(seed)
    cell = ConvCell(4, (5, 4), arrangement=arrangement, **({"groups": 2} | options)).double()
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            if "bias" in name:
                parameter.copy_(0.3 * normal(*parameter.shape, seed=7))
    return cell


def formula(cell, z, x):
    """f(z, x) as the module docstring has it, the norms from dense singular values."""
    a, b = (w / torch.linalg.matrix_norm(matrix(w), ord=2) for w in (cell.first, cell.second))
    bias = cell.bias[:, None, None]
    if cell.arrangement == "inner":
        h = convolution(z, a) + convolution(x, cell.inject.weight)
        h = relu(normalised(h, cell.groups, cell.eps) + bias)
        return relu(x + cell.gain * convolution(h, b))
    h = relu(normalised(convolution(z, a), cell.groups, cell.eps) + bias)
    h = normalised(x + cell.gain * convolution(h, b), cell.groups, cell.eps)
    return relu(h + cell.outer_bias[:, None, None])


def matrix(filters):
    """The matrix of `matrix_of`, with a tape."""
    units = torch.eye(4 * 5 * 4, dtype=torch.float64).view(-1, 4, 5, 4)
    return convolution(units, filters).flatten(1)


@pytest.mark.parametrize("arrangement", ["inner", "outer"])
def test_the_cell_is_its_formula_with_all_gradients(arrangement):
    cell, x = some_cell(arrangement, gain=1.7), normal(2, 4, 5, 4, seed=1).requires_grad_()
    z, weight, both = normal(2, 4, 5, 4, seed=2), normal(2, 4, 5, 4, seed=3), []
    for value in (cell(z, x), formula(cell, z, x)):
        both.append([value, *torch.autograd.grad((weight * value).sum(), [x, *cell.parameters()])])
    for found, expected in zip(*both, strict=True):
        # The singular vector is that of a start in float32: entries that are small among the others
        # are no more accurate than these.
        size = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-5 * size)


@pytest.mark.parametrize("arrangement", ["inner", "outer"])
def test_a_certified_cell_contracts_as_fast_as_it_says_and_moves_no_further(arrangement):
    # Biases of 3 keep most rectifiers open: that is where f moves most.
    cell = some_cell(arrangement, gain=0.2 if arrangement == "inner" else 0.06)
    nn.init.constant_(cell.bias, 3.0)
    certificate = cell.certificate()
    assert certificate.holds
    assert certificate.exists
    assert certificate.unique
    assert 0.5 < certificate.rate < 1
    deq = DEQ(cell, solver=Picard(rtol=1e-12, max_steps=500), on_failure="raise")
    for seed, size in enumerate((1e-3, 1e-2, 1.0, 10.0)):
        x, other = (size * normal(8, 4, 5, 4, seed=10 * seed + i) for i in (1, 2))
        with torch.no_grad():
            for z, image in ((normal(8, 4, 5, 4, seed=seed + 3), normal(8, 4, 5, 4, seed=4)),):
                before = (z - image).flatten(1).norm(dim=1)
                after = (cell(z, x) - cell(image, x)).flatten(1).norm(dim=1)
                assert (after <= certificate.rate * before).all()
            moved = (deq(x) - deq(other)).flatten(1).norm(dim=1)
            assert (moved <= certificate.lipschitz * (x - other).flatten(1).norm(dim=1)).all()


def test_the_jacobian_comes_near_the_certified_rate_where_the_maps_are_flat():
    # At z = x = 0 every group is constant, and N as steep as it can be: 1 / sqrt(eps).
    cell = some_cell("inner", gain=0.2)
    nn.init.constant_(cell.bias, 1.0)
    zero = torch.zeros(1, 4, 5, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: cell(z, zero + 0.1), zero)
    size = torch.linalg.matrix_norm(jacobian.view(80, 80), ord=2)
    assert 0.3 * cell.certificate().rate < size <= cell.certificate().rate


@pytest.mark.parametrize("arrangement", ["inner", "outer"])
def test_the_perturbation_is_what_the_product_of_the_norms_allows(arrangement):
    cell = some_cell(arrangement, gain=0.03)
    slope = cell.eps ** (-0.5 if arrangement == "inner" else -1.0)
    first, second = cell.prepare(torch.zeros(1, 4, 5, 4, dtype=torch.float64)).shared[:2]
    d = cell.certificate().perturbation
    a, b = exact_norm(first, (5, 4)) + d, exact_norm(second, (5, 4)) + d
    assert 0.8 < slope * a * b < 1  # bounds stand above the norms


@pytest.mark.parametrize("arrangement", ["inner", "outer"])
def test_a_large_gain_is_unknown_with_its_number_and_a_fixed_point_exists_all_the_same(arrangement):
    cell = some_cell(arrangement, gain=4.0)
    certificate = cell.certificate()
    assert certificate.holds
    assert certificate.exists
    assert not certificate.unique
    assert certificate.rate is None
    first, second = cell.prepare(torch.zeros(1, 4, 5, 4, dtype=torch.float64)).shared[:2]
    exact = exact_norm(first, (5, 4)) * exact_norm(second, (5, 4))
    exact *= cell.eps ** (-0.5 if arrangement == "inner" else -1.0)
    bound = float(certificate.theorem.removesuffix(" is not below 1").rpartition("= ")[2])
    assert 1 < (1 - 1e-3) * exact <= bound < 1.6 * exact  # it has four digits


def test_at_gain_0_nothing_of_z_is_left_and_the_knob_changes_the_next_solve():
    cell, x = some_cell(gain=2.0), normal(2, 4, 5, 4, seed=1)
    knob = cell.knob
    assert (knob.name, float(knob.value), knob.highest) == ("gain", 2.0, 8.0)
    z = normal(2, 4, 5, 4, seed=2)
    assert not torch.equal(cell(z, x), cell(2 * z, x))
    knob.value.zero_()
    assert torch.equal(cell(z, x), cell(-z, x))
    assert torch.equal(cell(z, x), x.relu())
    assert float(cell.state_dict()["gain"]) == 0


def test_a_controller_may_set_the_knob_between_forward_and_backward():
    cell, x = some_cell(), normal(2, 4, 5, 4, seed=1)
    deq = DEQ(cell, gradient=Phantom(), on_failure="raise")
    (expected,) = torch.autograd.grad(deq(x).square().sum(), cell.second)
    deq.observers.append(lambda verdicts: cell.knob.value.mul_(0.97))
    (found,) = torch.autograd.grad(deq(x).square().sum(), cell.second)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("arrangement", ["inner", "outer"])
def test_it_converges_at_the_gain_where_it_starts(arrangement):
    torch.manual_seed(0)
    cell = ConvCell(16, (7, 7), arrangement=arrangement)
    x = torch.randn(16, 16, 7, 7)
    with torch.no_grad():
        solution = DEQ(cell, solver=Anderson(memory=3, rtol=1e-2, max_steps=20)).solve(x)
    assert solution.converged.all()


def test_a_smaller_image_is_taken_and_a_larger_one_refused():
    cell = some_cell()
    assert cell(normal(1, 4, 3, 4, seed=0), normal(1, 4, 3, 4, seed=1)).shape == (1, 4, 3, 4)
    for shape in ((1, 4, 6, 4), (1, 4, 5, 5), (1, 3, 5, 4)):
        with pytest.raises(
            ValueError, match=r"takes x of shape \(\.\.\., 4, H, W\) with H at most 5"
        ):
            DEQ(cell)(normal(*shape, seed=0))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd, so that z keeps its size, got 4"),
        ({"conv_groups": 3}, r"positive multiples of conv_groups = 3, got \[4\]"),
        ({"groups": 3}, r"positive multiples of groups = 3, got \[4\]"),
        ({"eps": 0.0}, "eps must be more than 0, and finite, got 0.0"),
        ({"gain": -1.0}, "gain must be between 0 and highest = 8.0, got -1.0"),
        ({"gain": 9.0}, "gain must be between 0 and highest = 8.0, got 9.0"),
        ({"highest": float("inf")}, "highest must be more than 0, and finite, got inf"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        ConvCell(4, (5, 4), **options)


def test_another_arrangement_is_refused():
    with pytest.raises(ValueError, match='arrangement must be "inner" or "outer", got \'both\''):
        check_arrangement("both")
