"""Fourier layers: the cell is its formula, its norm is exact; operators and their twins."""

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu

from deqlab import DEQ, Picard
from deqlab.costs import num_parameters
from deqlab.nn import FourierCell, FourierLayer, fourier_deq, fourier_net
from deqlab.nn.cells.fourier import capped
from deqlab.nn.models.twins import size_of_equal_step_flops, step_flops
from deqlab.stability.certificates.norms import composed_two_norm
from deqlab.stability.slopes import slope_of
from tests.problems import normal


def some_cell(*, seed=0, **options):
    torch.manual_seed(seed)
    return FourierCell(2, 3, 2, **options).double()


def through(z, spectrum_map):
    """The real field that comes of a map of its Fourier coefficients (B, H, W, c), by FFT."""
    spectrum = torch.fft.fft2(z).permute(0, 2, 3, 1)
    return torch.fft.ifft2(spectrum_map(spectrum).permute(0, 3, 1, 2)).real


def matrices(pointwise, spectral, size, *, norm=None):
    """The matrix of every mode of the grid, (H, W, c, c), each with `norm` as its largest norm."""
    m = (len(spectral) + 1) // 2
    found = pointwise.to(torch.complex128).expand(*size, -1, -1).clone()
    for j in range(1 - m, m):
        for k in range(1 - m, m):
            one, other = spectral[m - 1 + j, m - 1 + k], spectral[m - 1 - j, m - 1 - k]
            found[j, k] = pointwise + torch.complex(one + other, one - other) / 2
    if norm is None:
        return found
    return found / torch.linalg.matrix_norm(found, ord=2, keepdim=True).clamp_min(norm)


def formula(cell, z, x):
    """f(z, x) as the module docstring has it."""
    gain, h, channels = cell.gain, z, z.shape[1]
    injected = cell.inject(x).split(channels, dim=1)
    for pointwise, spectral, q in zip(cell.pointwise, cell.spectral, injected, strict=True):
        each = gain * matrices(pointwise, spectral, z.shape[2:], norm=1.0)
        h = cell.activation(through(h, lambda s, m=each: (m @ s[..., None])[..., 0]) + q)
        gain = 1.0
    return h


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("size", [(3, 3), (5, 6)])
def test_the_cell_is_its_formula_with_all_gradients(size, layers):
    cell = some_cell(gain=0.7, layers=layers)
    x = normal(2, 2, *size, seed=1).requires_grad_()
    with torch.no_grad():
        cell.pointwise[0].mul_(2)  # above 1, and the blocks partly below
    z, weight, both = normal(2, 3, *size, seed=2), normal(2, 3, *size, seed=3), []
    for value in (cell(z, x), formula(cell, z, x)):
        both.append([value, *torch.autograd.grad((weight * value).sum(), [x, *cell.parameters()])])
    for found, expected in zip(*both, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_the_explicit_layer_is_its_formula():
    torch.manual_seed(0)
    layer = FourierLayer(3, 3, activation=torch.tanh).double()
    nn.init.normal_(layer.bias)
    h = normal(2, 3, 7, 6, seed=1)
    each = matrices(layer.pointwise, layer.spectral, (7, 6))
    mixed = through(h, lambda s: (each @ s[..., None])[..., 0])
    expected = torch.tanh(mixed + layer.bias[:, None, None])
    torch.testing.assert_close(layer(h), expected, rtol=1e-12, atol=1e-13)


def test_caps_leave_small_matrices_and_divide_large_ones():
    found = capped(torch.stack([torch.diag(torch.tensor([0.5, 0.2])), 4 * torch.eye(2)]))
    torch.testing.assert_close(
        found, torch.stack([torch.diag(torch.tensor([0.5, 0.2])), torch.eye(2)])
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_two_states_come_together_as_fast_as_is_certified_and_answers_move_no_further(layers):
    # Large biases keep all rectifiers open, where f is linear and one layer meets the rate.
    cell = some_cell(gain=0.8, layers=layers)
    with torch.no_grad():
        cell.pointwise[0].mul_(3)
        cell.inject.bias.fill_(50.0)
    certificate = cell.certificate()
    assert certificate.unique
    # The gain is a number in float32.
    norms = [
        torch.linalg.matrix_norm(matrices(w, r, (5, 5), norm=1.0), ord=2).max()
        for w, r in zip(cell.pointwise, cell.spectral, strict=True)
    ]
    assert certificate.rate == pytest.approx(0.8 * torch.stack(norms).prod().item(), rel=1e-6)
    x, other = normal(4, 2, 5, 5, seed=1), normal(4, 2, 5, 5, seed=2)
    deq = DEQ(cell, solver=Picard(rtol=1e-12, max_steps=500), on_failure="raise")
    z = normal(1, 3, 5, 5, seed=3)
    jacobian = torch.autograd.functional.jacobian(lambda z: cell(z, x[:1]), z).view(75, 75)
    direction = torch.linalg.svd(jacobian)[2][0].view_as(z)
    with torch.no_grad():
        for step in (direction, normal(1, 3, 5, 5, seed=4), 100 * normal(1, 3, 5, 5, seed=5)):
            ratio = (cell(z + step, x[:1]) - cell(z, x[:1])).norm() / step.norm()
            assert ratio <= certificate.rate * (1 + 1e-12)  # differences of numbers of size 50
        ratio = (cell(z + direction, x[:1]) - cell(z, x[:1])).norm()
        assert ratio >= (1 - 1e-6) * certificate.rate or layers > 1
        moved = (deq(x) - deq(other)).norm()
        injected = (cell.inject(x) - cell.inject(other)).norm()
        assert moved <= certificate.lipschitz * injected


def test_a_certificate_of_two_layers_is_that_of_their_norms():
    """f(z) = q_2 + 3 (q_1 + .1 * 2 z): z* = (q_2 + 3 q_1) / .4, largest along (3, 1)."""
    layers = [[torch.diag(torch.tensor([2.0, 1.0])), torch.ones(3, 1, 1)], [3.0 * torch.eye(2)]]
    certificate = composed_two_norm(layers, gain=0.1)
    assert certificate.rate == pytest.approx(0.6, rel=1e-12)
    assert certificate.lipschitz == pytest.approx(10**0.5 / 0.4, rel=1e-12)
    with pytest.raises(ValueError, match=r"blocks must be square matrices, got the shape \(2, 3\)"):
        composed_two_norm([[torch.ones(2, 3)]])


@pytest.mark.parametrize(
    ("options", "proved"),
    [
        ({"gain": 0.95}, True),
        ({"gain": 1.0, "highest": 2.0}, False),
        ({"gain": 0.88, "activation": gelu}, True),  # 1 / 1.13
        ({"gain": 0.9, "activation": gelu}, False),
        ({"gain": 0.95, "activation": lambda z: z / 2}, False),  # it may be anything
    ],
)
def test_the_certificate_knows_the_activation_and_the_gain(options, proved):
    cell = some_cell(**options)
    with torch.no_grad():
        cell.pointwise[0].mul_(9)  # to the cap
    assert cell.certificate().holds == proved
    cell.gain.zero_()
    if slope_of(cell.activation) is not None:
        assert cell.certificate().rate == 0


def test_trained_at_one_resolution_it_answers_at_another():
    torch.manual_seed(0)
    operator = fourier_deq(1, 2, 4, modes=3, on_failure="raise")
    with torch.no_grad():
        for size in ((5, 5), (9, 12)):
            assert operator(torch.randn(2, 1, *size)).shape == (2, 2, *size)


@pytest.mark.parametrize("make", [fourier_deq, fourier_net])
def test_a_step_of_training_reaches_every_weight(make):
    torch.manual_seed(0)
    model = make(1, 1, 4, modes=3)
    x, y = torch.randn(4, 1, 7, 7), torch.randn(4, 1, 7, 7)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_weights_and_costs_of_layers_are_those_of_the_formula():
    """A layer has c^2 (1 + (2m - 1)^2) + c numbers; a step of twins costs most nearly the same."""
    one, two = (num_parameters(fourier_net(1, 1, 5, 3, layers=n)) for n in (1, 2))
    assert two - one == 25 * (1 + 25) + 5
    x = torch.zeros(2, 1, 7, 7)
    costs = {
        size: step_flops(model, lambda model=model: model(x).sum())
        for size in range(2, 9)
        for model in [fourier_net(1, 1, size, 3)]
    }
    budget = costs[5] + 10
    assert size_of_equal_step_flops(lambda n: fourier_net(1, 1, n, 3), budget, range(2, 9), x) == 5


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: FourierCell(1, 4, 0), "modes must be at least 1, got 0"),
        (lambda: FourierCell(1, 4, 2, layers=0), "layers must be at least 1, got 0"),
        (lambda: FourierCell(0, 4, 2), "num_inputs must be at least 1, got 0"),
        (lambda: FourierCell(1, 4, 2, gain=2.0), "gain must be between 0 and highest = 1.0, got 2"),
        (lambda: DEQ(FourierCell(1, 4, 3))(torch.ones(1, 4, 9)), "8 x|4 x 9 points have no 3 mode"),
        (
            lambda: DEQ(FourierCell(1, 4, 3))(torch.ones(2, 3, 9, 9)),
            r"\(\.\.\., 1, height, width\)",
        ),
        (lambda: FourierLayer(4, 5)(torch.ones(1, 4, 8, 9)), "no 5 modes .* take 9 .* at most 4"),
        (lambda: fourier_net(1, 1, 4, 2, layers=0), "layers must be at least 1, got 0"),
        (lambda: fourier_net(1, 1, 4, 2)(torch.ones(1, 2, 9, 9)), "NeuralOperator takes fields of"),
    ],
)
def test_what_cannot_be_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
