"""Constructions against rational arithmetic: nothing is learnt, and nothing may be rounded."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from deqlab.expressivity import (
    ReadoutDEQ,
    narrow_sawtooth,
    sawtooth_fnn,
    steep_ramp,
    wide_sawtooth,
)
from deqlab.nn import DEQ, DenseCell
from deqlab.tasks import steep

F64 = torch.float64
SAWTOOTHS = {"wide": wide_sawtooth, "narrow": narrow_sawtooth, "fnn": sawtooth_fnn}
every_sawtooth = pytest.mark.parametrize("build", SAWTOOTHS.values(), ids=SAWTOOTHS)
every_deq = pytest.mark.parametrize("build", [wide_sawtooth, narrow_sawtooth])


def points(n, k, dtype=F64):
    """Points of the whole interval, and some of its first tooth."""
    generator = torch.Generator().manual_seed(k)
    x = torch.rand(n, 1, generator=generator, dtype=dtype)
    x[: n // 4] *= 2.0**-k
    return x


def tents(x, k):
    """s_k by its definition, in rational arithmetic."""
    values = []
    for t in map(Fraction, x.flatten().tolist()):
        for _ in range(k):
            t = min(2 * t, 2 - 2 * t)
        values.append(t)
    return values


@every_sawtooth
@pytest.mark.parametrize("k", [1, 2, 3, 5, 10, 15, 24])
def test_the_sawtooth_is_right_to_the_last_bit(build, k):
    x = points(400, k)
    assert [Fraction(v) for v in build(k)(x)[:, 0].tolist()] == tents(x, k)


@every_sawtooth
def test_so_it_is_in_float32(build):
    x = points(400, 10, torch.float32)
    y = build(10, dtype=torch.float32)(x)
    assert y.dtype == torch.float32
    assert [Fraction(v) for v in y[:, 0].tolist()] == tents(x, 10)


@every_sawtooth
def test_it_meets_both_ends(build):
    assert build(7)(torch.tensor([[0.0], [2.0**-7], [1.0]], dtype=F64)).tolist() == [[0], [1], [0]]


@every_deq
@pytest.mark.parametrize("k", [1, 5, 15])
def test_its_state_is_an_equilibrium_exactly_after_k_plus_one_evaluations(build, k):
    network, x = build(k), points(300, k)
    solution = network.layer.solve(x)
    assert solution.converged.all()
    assert solution.evaluations == k + 1
    z, cell = solution.value, network.layer.cell
    # By hand, with the weights that the module shows.
    f = torch.relu(z @ cell.weight.T + x @ cell.inject.weight.T + cell.inject.bias)
    assert torch.equal(z, f)
    assert torch.equal(cell.weight, cell.weight.tril(-1))


def test_sizes_and_weights_are_those_of_the_formulas():
    wide, narrow, fnn = wide_sawtooth(6), narrow_sawtooth(6), sawtooth_fnn(6)
    assert wide.layer.cell.width == 12
    assert wide.layer.cell.weight.abs().max() == 4
    assert wide.skip is None
    assert narrow.layer.cell.width == 6
    assert narrow.skip.weight.item() == 64
    assert narrow.layer.cell.inject.bias.tolist() == [-(2.0**-i) for i in range(1, 7)]
    assert [m.out_features for m in fnn if isinstance(m, nn.Linear)] == [2] * 6 + [1]


@every_sawtooth
def test_its_weights_can_be_trained_and_none_is_shared(build):
    network, x = build(3), points(8, 3)
    parameters = list(network.parameters())
    assert len({p.data_ptr() for p in parameters}) == len(parameters)
    network(x).sum().backward()
    assert all(p.grad is not None for p in parameters)


@every_sawtooth
def test_the_slope_is_that_of_the_sawtooth(build):
    x = torch.tensor([[0.1], [0.2], [0.3], [0.9]], dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(build(2)(x).sum(), x)
    assert slope[:, 0].tolist() == pytest.approx([4, 4, -4, -4], rel=1e-4)


@every_sawtooth
def test_building_one_draws_no_random_number(build):
    before = torch.get_rng_state()
    build(3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("d", [0, 1, 2, 5, 10, 15, 20, 24])
def test_the_ramp_is_right_to_the_last_bit(d):
    delta = 2.0**-d
    generator = torch.Generator().manual_seed(d)
    x, _ = steep.sample(2000, curve=steep.Ramp(delta), delta=delta, generator=generator, dtype=F64)
    x = torch.cat([x, torch.tensor([[0.0], [delta], [delta / 2], [1.0], [-1.0]], dtype=F64)])
    network = steep_ramp(delta)
    solution = network.layer.solve(x)
    assert solution.converged.all()
    found = network.output(x, solution)[:, 0].tolist()
    exact = [min(max(Fraction(v) * 2**d, Fraction(0)), Fraction(1)) for v in x[:, 0].tolist()]
    assert [Fraction(v) for v in found] == exact


def test_a_ramp_of_any_width_is_right_to_rounding():
    x = torch.linspace(-0.5, 1, 301, dtype=F64)[:, None]
    expected = (x / 0.3).clamp(0, 1)
    torch.testing.assert_close(steep_ramp(0.3)(x), expected, rtol=1e-14, atol=1e-15)


def test_a_ramp_in_float32_is_right_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    x, y = steep.sample(500, curve=steep.Ramp(2.0**-9), delta=2.0**-9, generator=generator)
    assert torch.equal(steep_ramp(2.0**-9, dtype=torch.float32)(x), y)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: wide_sawtooth(0), "log2_regions must be from 1 to 49 in torch.float64, got 0"),
        (lambda: wide_sawtooth(25), "log2_regions must be at most 24 here, got 25"),
        (lambda: narrow_sawtooth(50), "log2_regions must be from 1 to 49"),
        (lambda: narrow_sawtooth(21, dtype=torch.float32), "from 1 to 20 in torch.float32, got 21"),
        (lambda: sawtooth_fnn(-1), "log2_regions must be from 1 to 49"),
        (lambda: steep_ramp(2.0), "delta must be from 5.96e-08 to 1 in torch.float64, got 2"),
        (lambda: steep_ramp(2.0**-25), "from 5.96e-08 to 1 in torch.float64, got 2.98e-08"),
        (lambda: steep_ramp(2.0**-10, dtype=torch.float32), "from 0.00138 to 1 in torch.float32"),
        (
            lambda: ReadoutDEQ(DEQ(DenseCell(1, 2)), nn.Linear(2, 1), nn.Linear(1, 1)),
            "skip must have no bias",
        ),
    ],
)
def test_a_number_out_of_its_domain_is_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_the_narrow_sawtooth_goes_to_the_end_of_float64():
    x = points(200, 49)
    assert [Fraction(v) for v in narrow_sawtooth(49)(x)[:, 0].tolist()] == tents(x, 49)
