"""The sawtooth against k compositions of the tent map, in exact rational arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.tasks import sawtooth

UNIT = st.floats(0, 1)
REGIONS = st.integers(1, 49)


def tent(x):
    return min(2 * x, 2 - 2 * x)


def composed(x, k):
    """s_k(x) by its definition; exact, as x is rational."""
    for _ in range(k):
        x = tent(x)
    return x


def evaluate(x, k, dtype=torch.float64):
    return sawtooth.evaluate(torch.tensor([x], dtype=dtype), log2_regions=k).item()


@pytest.mark.parametrize("k", range(1, 16))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_tent_map_composed_k_times_to_the_last_bit(k, dtype):
    x = torch.rand(50, generator=torch.Generator().manual_seed(k), dtype=dtype)
    x = torch.cat([x, torch.tensor([0, 1, 0.5, 1 / 3, torch.finfo(dtype).tiny], dtype=dtype)])
    y = sawtooth.evaluate(x, log2_regions=k)
    assert y.dtype == dtype
    assert [Fraction(v) for v in y.tolist()] == [composed(Fraction(v), k) for v in x.tolist()]


@settings(deadline=None)
@given(UNIT, REGIONS)
def test_it_is_the_tent_map_composed_k_times_at_any_point_of_float64(x, k):
    exact = composed(Fraction(x), k)
    # Where the exact value needs more than 53 bits, next to 1 - tiny, nearest is best.
    assert evaluate(x, k) == float(exact)


@pytest.mark.parametrize("k", range(1, 16))
def test_it_has_exactly_two_to_the_k_linear_regions(k):
    # Four points to a region, placed so that no edge is among them; exact in float64.
    num_points = 4 * 2**k
    x = (torch.arange(num_points, dtype=torch.float64) + 0.5) / num_points
    slope = sawtooth.evaluate(x, log2_regions=k).diff() / x.diff()
    within = slope.view(-1)[torch.arange(num_points - 1) % 4 != 3]
    assert (within.abs() == 2.0**k).all()
    assert 1 + (within.diff() != 0).sum() == 2**k


@pytest.mark.parametrize("k", [1, 2, 5, 20, 49])
def test_it_rises_from_zero_to_one_on_the_first_region_and_ends_at_zero(k):
    assert evaluate(0.0, k) == 0
    assert evaluate(2.0**-k, k) == 1
    assert evaluate(0.5**k / 4, k) == 0.25
    assert evaluate(1.0, k) == 0


@settings(deadline=None)
@given(st.integers(0, 2**53), REGIONS)
def test_it_is_symmetric_about_one_half(numerator, k):
    x = numerator / 2**53  # then 1 - x is exact
    assert evaluate(1 - x, k) == evaluate(x, k)


@settings(deadline=None)
@given(UNIT, REGIONS)
def test_its_values_lie_between_zero_and_one(x, k):
    assert 0 <= evaluate(x, k) <= 1


@settings(deadline=None)
@given(st.integers(0, 2**53), st.integers(1, 48))
def test_one_more_fold_is_one_more_composition(numerator, k):
    x = numerator / 2**53
    assert evaluate(evaluate(x, k), 1) == evaluate(x, k + 1)


@settings(deadline=None)
@given(st.integers(0, 2**53), st.integers(1, 24), st.integers(1, 24))
def test_compositions_add(numerator, j, k):
    x = numerator / 2**53
    assert evaluate(evaluate(x, j), k) == evaluate(x, j + k)


@pytest.mark.parametrize(("k", "dtype"), [(20, torch.float32), (5, torch.float32)])
def test_targets_belong_to_the_rounded_points(k, dtype):
    x, y = sawtooth.sample(
        200, log2_regions=k, generator=torch.Generator().manual_seed(0), dtype=dtype
    )
    assert x.dtype == y.dtype == dtype
    expected = [float(composed(Fraction(v), k)) for v in x.flatten().tolist()]
    assert y.flatten().tolist() == expected


def test_samples_are_columns_on_the_unit_interval_and_follow_the_seed():
    def draw(seed, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        return sawtooth.sample(1000, log2_regions=3, generator=generator, dtype=dtype)

    x, y = draw(0)
    assert x.shape == y.shape == (1000, 1)
    assert ((x >= 0) & (x < 1)).all()
    assert torch.equal(x, draw(0)[0])
    assert not torch.equal(x, draw(1)[0])
    torch.testing.assert_close(x, draw(0, torch.float64)[0].float(), rtol=0, atol=0)


def test_half_precision_never_rounds_up_to_one():
    # bfloat16 rounds 1 in 512 uniform points up to 1.0 where nothing stops it.
    generator = torch.Generator().manual_seed(0)
    x, _ = sawtooth.sample(10_000, log2_regions=4, generator=generator, dtype=torch.bfloat16)
    assert x.max() == 1 - 2**-8


@pytest.mark.parametrize(
    ("k", "dtype"),
    [(1, torch.float64), (10, torch.float32), (16, torch.float32), (49, torch.float64)],
)
def test_targets_are_uniform_too_so_nothing_aliases(k, dtype):
    # T preserves the uniform distribution. Points on a dyadic grid, or bits lost in
    # 2^(k-1) x, would pile the targets up on a few values.
    n = 20_000
    generator = torch.Generator().manual_seed(1)
    _, y = sawtooth.sample(n, log2_regions=k, generator=generator, dtype=dtype)
    ordered = y.flatten().double().sort().values
    grid = torch.arange(n, dtype=torch.float64) / n
    distance = torch.maximum(ordered - grid, grid + 1 / n - ordered).max()
    # Kolmogorov-Smirnov: beyond 1.95 / sqrt(n) with probability 0.001; the last bits of
    # float32 at k = 16, and of float64 at k = 49, leave steps of 2^-7 and 2^-3.
    step = 2.0 ** (k - (24 if dtype == torch.float32 else 53))
    assert distance < 1.95 / n**0.5 + step


def test_it_follows_shape_and_is_differentiable_with_slope_two_to_the_k():
    x = torch.tensor([[0.1, 0.2], [0.3, 0.9]], dtype=torch.float64, requires_grad=True)
    y = sawtooth.evaluate(x, log2_regions=2)
    assert y.shape == (2, 2)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert slope.tolist() == [[4, 4], [-4, -4]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_the_number_of_regions_is_limited_by_the_dtype(dtype):
    largest = {torch.float32: 20, torch.float64: 49, torch.float16: 7, torch.bfloat16: 4}[dtype]
    generator = torch.Generator().manual_seed(0)
    sawtooth.sample(3, log2_regions=largest, generator=generator, dtype=dtype)
    message = f"log2_regions must be from 1 to {largest} in {dtype}, got {{}}: x has"
    for k in (0, -1, largest + 1):
        with pytest.raises(ValueError, match=message.format(k)):
            sawtooth.sample(3, log2_regions=k, generator=generator, dtype=dtype)
        with pytest.raises(ValueError, match=message.format(k)):
            sawtooth.evaluate(torch.zeros(3, dtype=dtype), log2_regions=k)


@pytest.mark.parametrize("bad", [-0.25, 1.5, float("nan"), float("inf")])
def test_points_outside_the_unit_interval_are_refused(bad):
    with pytest.raises(ValueError, match=rf"lives on \[0, 1\], got {bad:g} among 2 points"):
        sawtooth.evaluate(torch.tensor([0.5, bad, bad]), log2_regions=3)


def test_a_sample_has_at_least_one_point():
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        sawtooth.sample(0, log2_regions=3, generator=torch.Generator())


@settings(deadline=None)
@given(
    st.integers(-(2**30), 2**30),
    st.integers(1, 16),
    st.sampled_from([(-1.0, 1.0), (0.0, 4.0), (-3.0, -1.0), (0.5, 0.75)]),
    st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (2.0, -0.5)]),
)
def test_other_intervals_are_the_unit_one_stretched(numerator, k, inputs, outputs):
    (a, b), (c, d) = (tuple(map(Fraction, ends)) for ends in (inputs, outputs))
    t = Fraction(abs(numerator), 2**30)
    x = torch.tensor([float(a + (b - a) * t)], dtype=torch.float64)  # exact: dyadic and short
    y = sawtooth.evaluate(x, log2_regions=k, inputs=inputs, outputs=outputs)
    assert Fraction(y.item()) == c + (d - c) * composed(t, k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_fill_another_interval_and_carry_its_targets(dtype):
    inputs, outputs = (-1.0, 0.3), (-1.0, 1.0)
    x, y = sawtooth.sample(
        4000,
        log2_regions=4,
        generator=torch.Generator().manual_seed(0),
        dtype=dtype,
        inputs=inputs,
        outputs=outputs,
    )
    assert x.dtype == y.dtype == dtype
    low, high = torch.tensor(inputs, dtype=dtype).tolist()
    assert x.min() >= low
    assert x.max() < high
    assert x.min() < low + 0.01
    assert x.max() > high - 0.01
    t = [(Fraction(v) - Fraction(low)) / (Fraction(high) - Fraction(low)) for v in x[:, 0].tolist()]
    exact = torch.tensor([float(2 * composed(v, 4) - 1) for v in t], dtype=torch.float64)
    # float64: t is rounded by 2^-53 twice, and the slope is 2 * 2^4.
    tolerance = 2.0**-46 if dtype == torch.float64 else torch.finfo(dtype).eps
    assert (y[:, 0].double() - exact).abs().max() <= tolerance


def test_samples_stay_inside_an_interval_whose_ends_the_dtype_rounds():
    generator = torch.Generator().manual_seed(0)
    x, _ = sawtooth.sample(
        20_000, log2_regions=2, generator=generator, dtype=torch.bfloat16, inputs=(0.1, 1.1)
    )
    low, high = torch.tensor([0.1, 1.1], dtype=torch.bfloat16).tolist()
    assert x.min() >= low
    assert x.max() < high


def test_leading_bits_that_all_points_share_leave_fewer_regions():
    # 2^10 <= x: of 24 bits 10 say nothing, and 4 stay within a region.
    x = torch.tensor([1023.5])
    sawtooth.evaluate(x, log2_regions=10, inputs=(1023.0, 1024.0))
    message = r"from 1 to 10 in torch.float32 on \[1023, 1024\], got 11: x has 14 significant bits"
    with pytest.raises(ValueError, match=message):
        sawtooth.evaluate(x, log2_regions=11, inputs=(1023.0, 1024.0))


@pytest.mark.parametrize(
    "inputs", [(1.0, 0.0), (0.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0), (1.0, 1 + 1e-9)]
)
def test_inputs_that_are_no_interval_of_the_dtype_are_refused(inputs):
    with pytest.raises(ValueError, match="inputs must be two finite numbers"):
        sawtooth.evaluate(torch.ones(1), log2_regions=1, inputs=inputs)


@pytest.mark.parametrize("outputs", [(1.0, 1.0), (0.0, float("nan")), (float("-inf"), 0.0)])
def test_outputs_that_flatten_or_lose_the_teeth_are_refused(outputs):
    with pytest.raises(ValueError, match="outputs must be two different finite numbers"):
        sawtooth.evaluate(torch.ones(1), log2_regions=1, outputs=outputs)


def test_points_outside_another_interval_are_refused():
    with pytest.raises(ValueError, match=r"lives on \[-1, 1\], got 1.5 among 1 points"):
        sawtooth.evaluate(torch.tensor([1.5]), log2_regions=1, inputs=(-1.0, 1.0))
