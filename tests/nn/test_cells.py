"""DenseCell is phi(Wz + Ux + b), and explicit networks are what they count."""

import pytest
import torch
from torch import nn

from deqlab.nn import DenseCell, SpectralNorm, Triangular, mlp
from tests.problems import normal


@pytest.mark.parametrize("constraint", [None, SpectralNorm(0.5), Triangular(0.5)])
def test_the_cell_is_its_formula(constraint):
    cell = DenseCell(3, 5, activation=torch.tanh, constraint=constraint).double()
    z, x = normal(4, 5, seed=0), normal(4, 3, seed=1)
    u, b = cell.inject.weight, cell.inject.bias
    expected = torch.tanh(torch.einsum("ij,bj->bi", cell.weight, z) + x @ u.T + b)
    torch.testing.assert_close(cell(z, x), expected, rtol=1e-12, atol=1e-12)


def test_the_constraint_is_applied_to_the_free_matrix():
    cell = DenseCell(3, 5, constraint=SpectralNorm(0.5), gain=3.0).double()
    torch.testing.assert_close(cell.weight, SpectralNorm(0.5)(cell.free), rtol=0, atol=0)
    assert torch.linalg.svdvals(cell.free)[0] > 1


def test_the_default_activation_is_relu():
    cell = DenseCell(2, 4)
    assert (cell(torch.randn(50, 4), torch.randn(50, 2)) >= 0).all()


def test_a_solve_starts_at_zeros_of_the_dtype_of_x():
    z = DenseCell(2, 4).double().initial(normal(3, 2, seed=2))
    assert torch.equal(z, torch.zeros(3, 4, dtype=torch.float64))


def test_prepare_and_forward_are_the_same_map():
    cell = DenseCell(3, 4, constraint=SpectralNorm()).double()
    z, x = normal(2, 4, seed=3), normal(2, 3, seed=4)
    prepared = cell.prepare(x)
    assert torch.equal(cell.update(z, prepared.shared, prepared.rows), cell(z, x))


def test_the_gain_is_about_the_spectral_radius():
    torch.manual_seed(0)
    free = DenseCell(1, 100, gain=0.5).free
    radius = torch.linalg.eigvals(free).abs().max().item()
    # The circular law; at width 100 the outermost eigenvalue strays by several percent.
    assert radius == pytest.approx(0.5, rel=0.2)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_inputs": 0, "width": 2}, "num_inputs must be at least 1, got 0"),
        ({"num_inputs": 2, "width": 0}, "width must be at least 1, got 0"),
        (
            {"num_inputs": 2, "width": 2, "gain": -1.0},
            "gain must be 0 or more, and finite, got -1.0",
        ),
    ],
)
def test_a_setting_outside_its_domain_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        DenseCell(**settings)


def test_an_mlp_has_an_activation_between_linear_layers_and_none_at_the_end():
    network = mlp([4, 8, 8, 2], activation=nn.Tanh)
    assert [type(m) for m in network] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    assert sum(p.numel() for p in network.parameters()) == 4 * 8 + 8 + 8 * 8 + 8 + 8 * 2 + 2
    with pytest.raises(ValueError, match=r"two or more numbers of at least 1, got \[4\]"):
        mlp([4])
    with pytest.raises(ValueError, match=r"got \[4, 0, 2\]"):
        mlp([4, 0, 2])


def test_a_width_beyond_all_memory_is_refused_with_its_size():
    with pytest.raises(ValueError, match=r"width 1000000000 is too large: .* the 4.0e\+18 bytes"):
        DenseCell(3, 10**9)


@pytest.mark.parametrize("gain", [float("inf"), float("nan")])
def test_a_gain_that_is_not_finite_is_refused(gain):
    with pytest.raises(ValueError, match=f"gain must be 0 or more, and finite, got {gain}"):
        DenseCell(3, 4, gain=gain)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"activation": "tanh"}, "activation must be a function, such as torch.tanh, got the str"),
        ({"activation": nn.Tanh}, r"got the class Tanh; an instance is made by Tanh\(\)"),
        ({"constraint": "spectral"}, r"constraint must be a Module, such as SpectralNorm\(0.9\)"),
        ({"constraint": SpectralNorm}, "got the class SpectralNorm; an instance is made by"),
    ],
)
def test_parts_of_a_dense_cell_are_instances(arguments, sentence):
    with pytest.raises(TypeError, match=sentence):
        DenseCell(3, 4, **arguments)
