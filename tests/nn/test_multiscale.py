"""The multiscale cell is its formula, converges where it starts, and is differentiated exactly."""

import pytest
import torch

from deqlab import DEQ, Anderson, Picard
from deqlab.nn import MultiscaleCell, Resolution, multiscale
from tests.nn.maps import convolution, normalised, relu
from tests.problems import normal

TIGHT = Anderson(rtol=1e-11, max_steps=200)


def some_cell(channels=(4, 6), *, seed=0, **options):
    torch.manual_seed(seed)
    return MultiscaleCell(3, channels, **({"groups": 2} | options)).double()


def unit(filters):
    return filters / filters.flatten(1).norm(dim=1)[:, None, None, None]


def pooled(x, times):
    for _ in range(times):
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    return x


def formula(cell, z, x):
    """f(z, x) as the module docstring has it, from definitions."""
    n, h, result = len(z), [], []
    for i in range(n):
        u = cell.inject[i]
        q = convolution(pooled(x, i), u.weight) + u.bias[:, None, None]
        inner = relu(normalised(convolution(z[i], unit(cell.first[i])), cell.groups))
        state = cell.gain * convolution(inner, unit(cell.second[i]))
        h.append(relu(normalised(q, cell.groups) + state))
    for i in range(n):
        total = h[i]
        if i > 0:
            total = total + convolution(h[i - 1], unit(cell.down[i - 1]), stride=2)
        if i + 1 < n:
            coarse = convolution(h[i + 1], unit(cell.up[i]))
            total = total + coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        result.append(relu(normalised(total, cell.groups)))
    return tuple(result)


def random_state(cell, x):
    return tuple(torch.randn_like(part) for part in cell.initial(x))


@pytest.mark.parametrize("channels", [(4,), (4, 6), (4, 6, 8)])
def test_the_cell_is_its_formula(channels):
    cell, x = some_cell(channels, gain=0.8), normal(2, 3, 8, 12, seed=1)
    z = random_state(cell, x)
    weights = random_state(cell, x)
    both = []
    for result in (cell(z, x), formula(cell, z, x)):
        loss = sum((w * part).sum() for w, part in zip(weights, result, strict=True))
        both.append([*result, *torch.autograd.grad(loss, list(cell.parameters()))])
    # The gradients too: that of a filter is orthogonal to it, since its norm does not matter.
    for found, expected in zip(*both, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_solve_starts_at_zeros_of_halving_resolution_in_the_dtype_of_x():
    z = some_cell((4, 6, 8)).initial(normal(2, 3, 8, 12, seed=0))
    assert [tuple(part.shape) for part in z] == [(2, 4, 8, 12), (2, 6, 4, 6), (2, 8, 2, 3)]
    assert all(part.dtype == torch.float64 and not part.any() for part in z)


@pytest.mark.parametrize("channels", [(16, 32), (8, 16, 32)])
@pytest.mark.parametrize("solver", [Anderson, Picard])
def test_it_converges_within_25_steps_where_it_starts(channels, solver):
    for seed in range(3):
        torch.manual_seed(seed)
        deq = DEQ(MultiscaleCell(3, channels), solver=solver(rtol=1e-3, max_steps=25))
        with torch.no_grad():
            assert deq.solve(torch.randn(8, 3, 8, 8)).converged.all()


def test_the_value_and_every_gradient_are_those_of_many_plain_iterations():
    cell, x = some_cell((4, 6)), normal(2, 3, 4, 4, seed=2).requires_grad_()
    leaves = [x, *cell.parameters()]
    solution = DEQ(cell, solver=TIGHT, on_failure="raise").solve(x)
    weights = [normal(*part.shape, seed=3) for part in solution.value]

    def gradients(value):
        loss = sum((w * part).sum() for w, part in zip(weights, value, strict=True))
        return torch.autograd.grad(loss, leaves)

    z = cell.initial(x)
    for _ in range(80):  # the rate is about a half
        z = cell(z, x)
    for found, expected in zip(solution.value, z, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
    for found, expected in zip(gradients(solution.value), gradients(z), strict=True):
        assert expected.norm() > 0
        # The adjoint is solved to the square root of the precision of its dtype or better.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * expected.abs().max())


def test_a_sample_does_not_feel_its_neighbours():
    cell, x = some_cell(), normal(3, 3, 8, 8, seed=4)
    deq = DEQ(cell, solver=TIGHT, on_failure="raise")
    together = deq(x)
    for i in range(3):
        for alone, of_all in zip(deq(x[i : i + 1]), together, strict=True):
            torch.testing.assert_close(alone[0], of_all[i], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("channels", [(4,), (4, 6, 8)])
def test_finished_samples_may_leave_the_batch(channels):
    cell, x = some_cell(channels), normal(4, 3, 8, 8, seed=5)
    x[0] *= 100  # another solve than the rest
    leaving = DEQ(cell, solver=TIGHT, rows_independent=True, on_failure="raise")(x)
    for found, expected in zip(leaving, DEQ(cell, solver=TIGHT)(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_the_size_of_the_filters_does_not_matter():
    cell, x = some_cell((4, 6, 8)), normal(2, 3, 8, 8, seed=6)
    z = random_state(cell, x)
    before = cell(z, x)
    with torch.no_grad():
        for filters in (*cell.first, *cell.second, *cell.down, *cell.up):
            filters *= 7
    for found, expected in zip(cell(z, x), before, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, (4, 8)), "num_inputs must be at least 1, got 0"),
        ((3, ()), r"positive multiples of groups = 4, got \[\]"),
        ((3, (4, 6)), r"positive multiples of groups = 4, got \[4, 6\]"),
        ((3, (4, -4)), r"positive multiples of groups = 4, got \[4, -4\]"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        MultiscaleCell(*arguments)


def test_a_gain_or_group_or_halving_outside_its_domain_is_refused():
    with pytest.raises(ValueError, match=r"gain must be between 0 and highest = 8\.0, got -0\.1"):
        MultiscaleCell(3, (4, 8), gain=-0.1)
    with pytest.raises(ValueError, match="groups must be at least 1, got 0"):
        MultiscaleCell(3, (4, 8), groups=0)
    with pytest.raises(ValueError, match="halvings must be 0 or more, got -1"):
        multiscale(3, (4, 8), 10, halvings=-1)


def test_an_image_that_cannot_be_halved_as_often_is_refused():
    with pytest.raises(ValueError, match=r"multiples of 4, got \(1, 3, 8, 6\)"):
        DEQ(some_cell((4, 6, 8)))(normal(1, 3, 8, 6, seed=0))


def test_the_classifier_halves_the_images_and_reads_the_finest_map():
    torch.manual_seed(0)
    features, readout = multiscale(3, (8, 16), 10, halvings=2)
    x = torch.randn(2, 3, 32, 32)
    maps = features(x)
    assert maps.shape == (2, 8, 8, 8)
    stem, deq, finest = features
    assert torch.equal(finest(deq(stem(x))), deq(stem(x))[0])
    linear = readout[-1]
    expected = maps.mean(dim=(2, 3)) @ linear.weight.T + linear.bias
    torch.testing.assert_close(readout(maps), expected)


def test_a_resolution_is_counted_from_either_end():
    z = (torch.zeros(1), torch.ones(1))
    assert Resolution(-1)(z) is z[1]
    assert Resolution()(z) is z[0]


@pytest.mark.slow
def test_it_learns():
    torch.manual_seed(0)
    model = multiscale(1, (8, 8), 2, groups=2)
    x = torch.randn(16, 1, 8, 8)
    y = torch.arange(16) % 2
    x[y == 1, :, :, :4] += 1  # the left half is bright
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
