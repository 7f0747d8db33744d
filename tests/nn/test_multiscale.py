"""The multiscale cell is its formula, converges where it starts, and is differentiated exactly."""

import pytest
import torch

from deqlab import DEQ, Anderson, Picard
from deqlab.nn import MultiscaleCell, Resolution, multiscale
from deqlab.nn.cells.exchange import check_reach
from tests.nn.maps import convolution, normalised, relu
from tests.nn.operators import exact_norm
from tests.problems import normal

TIGHT = Anderson(rtol=1e-11, max_steps=200)


def some_cell(channels=(4, 6), *, seed=0, **options):
    torch.manual_seed(seed)
    return MultiscaleCell(3, channels, **({"groups": 2} | options)).double()


def unit(filters, **of_the_operator):
    return filters / filters.flatten(1).norm(dim=1)[:, None, None, None]


def pooled(x, times):
    for _ in range(times):
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    return x


def repeated(maps, times):
    return maps.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)


def formula(cell, z, x, fixed=unit):
    """f(z, x) as the module docstring has it, from definitions; `fixed` gives filters norm 1."""
    n, h, result = len(z), [], []
    far_down, far_up = (iter(getattr(cell, name, ())) for name in ("far_down", "far_up"))
    for i in range(n):
        u = cell.inject[i]
        q = convolution(pooled(x, i), u.weight) + u.bias[:, None, None]
        inner = convolution(z[i], fixed(cell.first[i], size=z[i].shape[2:]))
        inner = relu(normalised(inner, cell.groups, cell.eps))
        state = convolution(inner, fixed(cell.second[i], size=z[i].shape[2:]))
        state = cell.gain * (cell.identity * z[i] + state)
        h.append(relu(normalised(q, cell.groups, cell.eps) + state))
    total = list(h)
    for fine in range(n):
        for coarse in range(fine + 1, n):
            if coarse == fine + 1:
                chain, up = [cell.down[fine]], cell.up[fine]
            elif cell.exchange == "all":
                chain, up = [next(far_down) for _ in range(coarse - fine)], next(far_up)
            else:
                continue
            heard = h[fine]
            for i, filters in enumerate(chain):
                filters = fixed(filters, size=heard.shape[2:], stride=2)
                heard = convolution(relu(heard) if i else heard, filters, stride=2)
            total[coarse] = total[coarse] + heard
            heard = convolution(h[coarse], fixed(up, size=(1, 1)))
            total[fine] = total[fine] + repeated(heard, 2 ** (coarse - fine))
    for part in total:
        result.append(relu(normalised(part, cell.groups, cell.eps)))
    return tuple(result)


def random_state(cell, x):
    return tuple(torch.randn_like(part) for part in cell.initial(x))


COMPLETE = {"exchange": "all", "expansion": 3, "identity": 0.7, "eps": 0.01}


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        ((4,), {}),
        ((4, 6), {}),
        ((4, 6, 8), {}),
        ((4, 6, 8), {"exchange": "all"}),
        ((4, 2, 6, 2), COMPLETE),
    ],
)
def test_the_cell_is_its_formula(channels, options):
    cell, x = some_cell(channels, gain=0.8, **options), normal(2, 3, 8, 16, seed=1)
    z = random_state(cell, x)
    weights = random_state(cell, x)
    both = []
    for result in (cell(z, x), formula(cell, z, x)):
        loss = sum((w * part).sum() for w, part in zip(weights, result, strict=True))
        both.append([*result, *torch.autograd.grad(loss, list(cell.parameters()))])
    # The gradients too: that of a filter is orthogonal to it, since its norm does not matter.
    for found, expected in zip(*both, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def over_operator_norm(filters, *, size, stride=1):
    return filters / exact_norm(filters, tuple(size), stride=stride)


def test_with_a_size_every_convolution_has_operator_norm_1():
    cell = some_cell((2, 4, 2), size=(8, 12), **COMPLETE)
    x = normal(2, 3, 8, 12, seed=1)
    z = random_state(cell, x)
    for found, expected in zip(cell(z, x), formula(cell, z, x, over_operator_norm), strict=True):
        # Its singular vectors are those of Krylov spaces of 40 dimensions.
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_at_gain_0_nothing_of_z_is_left():
    cell, x = some_cell((4, 6), **COMPLETE), normal(2, 3, 8, 8, seed=1)
    z, other = random_state(cell, x), random_state(cell, x)
    assert any(not torch.equal(*pair) for pair in zip(cell(z, x), cell(other, x), strict=True))
    assert (cell.knob.name, cell.knob.highest) == ("gain", 8.0)
    cell.knob.value.zero_()
    assert all(torch.equal(*pair) for pair in zip(cell(z, x), cell(other, x), strict=True))


def test_weights_from_before_the_gain_was_a_buffer_are_loaded():
    cell, other, x = some_cell(gain=0.7), some_cell(seed=1, gain=0.7), normal(2, 3, 4, 4, seed=1)
    old = {name: value for name, value in cell.state_dict().items() if name != "gain"}
    other.load_state_dict(old)
    z = random_state(cell, x)
    assert all(torch.equal(*pair) for pair in zip(cell(z, x), other(z, x), strict=True))
    assert "gain" not in old
    del old["second.0"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "second\.0"'):
        other.load_state_dict(old)


def test_dropout_is_one_mask_a_solve_and_none_in_evaluation():
    cell, x = some_cell((4, 6), dropout=0.5), normal(3, 3, 8, 8, seed=2)
    torch.manual_seed(0)
    one, other = cell.prepare(x), cell.prepare(x)
    z = random_state(cell, x)
    values = [cell.update(z, p.shared, p.rows) for p in (one, one, other)]
    assert torch.equal(values[0][0], values[1][0])
    assert not torch.equal(values[0][0], values[2][0])
    for mask in one.rows.masks:
        assert set(mask.unique().tolist()) == {0.0, 2.0}
        assert 0.3 < (mask > 0).double().mean() < 0.7
    assert DEQ(cell, solver=TIGHT, on_failure="raise").solve(x).converged.all()
    plain = some_cell((4, 6))
    for found, expected in zip(cell.eval()(z, x), plain(z, x), strict=True):
        assert torch.equal(found, expected)


def test_dropout_leaves_the_expected_feedback():
    cell, x = some_cell((4,), dropout=0.25), normal(1, 3, 8, 8, seed=2)
    masks = torch.stack([cell.prepare(x).rows.masks[0] for _ in range(400)])
    torch.testing.assert_close(masks.mean(), torch.ones((), dtype=masks.dtype), rtol=0, atol=0.02)


CONTRACTING = {"size": (8, 8), "eps": 1.0, "gain": 0.05, "identity": 0.5}


@pytest.mark.parametrize("exchange", ["neighbours", "all"])
def test_a_certified_cell_contracts_as_fast_as_it_says_and_moves_no_further(exchange):
    cell = some_cell((4, 4, 4), exchange=exchange, **CONTRACTING)
    certificate = cell.certificate()
    assert certificate.holds
    assert 0.1 < certificate.rate < 1
    x = normal(4, 3, 8, 8, seed=1)
    prepared = cell.prepare(x)

    def flat(state):
        return torch.cat([part.flatten(1) for part in state], dim=1).norm(dim=1)

    def less(one, other):
        return tuple(a - b for a, b in zip(one, other, strict=True))

    for size in (1e-3, 1.0, 30.0):
        z, other = (tuple(size * part for part in random_state(cell, x)) for _ in range(2))
        images = [cell.update(state, prepared.shared, prepared.rows) for state in (z, other)]
        assert (flat(less(*images)) <= certificate.rate * flat(less(z, other))).all()
    moved = prepared.rows._replace(q=[q + 0.1 * torch.randn_like(q) for q in prepared.rows.q])
    ends = []
    for rows in (prepared.rows, moved):
        state = cell.initial(x)
        for _ in range(60):
            state = cell.update(state, prepared.shared, rows)
        ends.append(state)
    difference = flat(less(moved.q, prepared.rows.q))
    assert (flat(less(*ends)) <= certificate.lipschitz * difference).all()


def test_the_certified_rate_is_what_dense_norms_give_and_unknown_above_1():
    cell = some_cell((2, 2, 2), exchange="all", **CONTRACTING | {"size": (16, 16)})
    x, n = torch.zeros(1, 3, 16, 16, dtype=torch.float64), 3
    first, second, identity, into = cell.prepare(x).shared
    blocks, exchange = [], torch.eye(n, dtype=torch.float64)
    for i in range(n):
        size = (16 >> i, 16 >> i)
        blocks.append(identity + exact_norm(first[i], size) * exact_norm(second[i], size))
        for j, chain in enumerate(into[i]):
            norms = [
                exact_norm(w, (16 >> (j + s), 16 >> (j + s)), stride=2 if j < i else 1)
                for s, w in enumerate(chain)
            ]
            if norms:
                exchange[i, j] = torch.tensor(norms).prod() * 2.0 ** max(j - i, 0)
    exact = torch.linalg.matrix_norm(exchange * torch.stack(blocks), ord=2).item()
    # The coarsest maps have 4 x 4 pixels, where a bound stands well above the norm.
    assert exact <= cell.certificate().rate < 1.6 * exact
    cell.knob.value.fill_(2.0)
    certificate = cell.certificate()
    assert (certificate.holds, certificate.exists, certificate.unique) == (True, True, False)
    assert "is not below 1" in certificate.theorem
    free = some_cell((2, 2), gain=0.001, eps=1.0)  # at any resolution
    assert cell.knob is not None
    assert free.certificate().rate > 0


def test_a_certificate_in_training_mode_covers_the_mask_that_scales_most():
    cell = some_cell((4,), size=(4, 4), eps=1.0, gain=0.1, dropout=0.75)
    rates = [cell.train(mode).certificate().rate for mode in (True, False)]
    assert rates[0] == pytest.approx(4 * rates[1])  # what is kept of 3 in 4 is multiplied by 4
    assert rates[0] < 1


def test_a_setting_that_no_option_has_is_refused():
    for options, sentence in (
        ({"expansion": 0}, "expansion must be at least 1, got 0"),
        ({"identity": -1.0}, r"identity must be 0 or more, and finite, got -1\.0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1\.0"),
        ({"size": (8, 6)}, r"size must have multiples of 4 for 3 resolutions, got \(8, 6\)"),
        ({"eps": 0.0}, r"eps must be more than 0, and finite, got 0\.0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            some_cell((4, 6, 8), **options)
    with pytest.raises(ValueError, match='exchange must be "neighbours" or "all", got \'none\''):
        check_reach("none")
    with pytest.raises(ValueError, match=r"operator norms were taken at size = \(8, 8\)"):
        DEQ(some_cell((4, 6), size=(8, 8)))(normal(1, 3, 8, 12, seed=0))


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
