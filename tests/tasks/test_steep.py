"""Steep curves against rational arithmetic, and samples against their density."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.tasks.steep import Ramp, Rational, sample

STEEPEST = 2.0**-20


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None)
@given(st.floats(-1, 1), st.integers(0, 30))
def test_the_ramp_is_its_formula_in_exact_arithmetic(x, d):
    exact = min(max(Fraction(x) * 2**d, Fraction(0)), Fraction(1))
    assert Ramp(2.0**-d)(torch.tensor([x], dtype=torch.float64)).item() == float(exact)


@settings(deadline=None)
@given(st.floats(-1, 1), st.integers(0, 30))
def test_the_rational_curve_is_its_formula_up_to_two_roundings(x, d):
    y = Rational(2.0**-d)(torch.tensor([x], dtype=torch.float64)).item()
    positive = max(Fraction(x), Fraction(0))
    exact = float(positive / (positive + Fraction(1, 2**d)))
    assert y == pytest.approx(exact, rel=2.3e-16, abs=1e-320)


@pytest.mark.parametrize("curve", [Ramp, Rational])
@given(st.floats(1e-6, 1), st.lists(st.floats(-1, 1), min_size=2, max_size=10))
@settings(deadline=None)
def test_curves_rise_from_zero_and_stay_within_one(curve, delta, points):
    y = curve(delta)(torch.tensor(sorted(points), dtype=torch.float64))
    assert (y.diff() >= 0).all()
    assert y.min() >= 0
    assert y.max() <= 1
    assert curve(delta)(torch.tensor([-0.5, 0.0])).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curve", [Ramp(STEEPEST), Rational(STEEPEST)])
def test_the_steepest_step_is_seen_and_its_targets_are_those_of_the_points(curve, dtype):
    x, y = sample(2000, curve=curve, delta=STEEPEST, generator=generator(), dtype=dtype)
    assert x.shape == y.shape == (2000, 1)
    assert x.dtype == y.dtype == dtype
    assert torch.equal(y, curve(x))
    # Of the points half are near, and an eighth of those on the ramp itself.
    on_the_step = ((x > 0) & (x < STEEPEST)).sum().item()
    assert on_the_step == pytest.approx(2000 / 16, abs=4 * math.sqrt(2000 / 16))


@pytest.mark.parametrize(
    ("low", "step", "near", "delta"),
    [(-1.0, 0.0, 0.5, 0.01), (0.0, 0.0, 0.3, 0.02), (-1.0, 0.5, 0.9, 0.01), (-1.0, 0.0, 0.0, 0.01)],
)
def test_points_follow_the_documented_density(low, step, near, delta):
    n = 20_000
    x, _ = sample(
        n, curve=torch.sign, delta=delta, generator=generator(), low=low, step=step, near=near,
        dtype=torch.float64,
    )  # fmt: skip
    x = x[:, 0].sort().values
    left, right = max(low, step - 4 * delta), step + 4 * delta
    far, close = (x - low) / (1 - low), ((x - left) / (right - left)).clamp(0, 1)
    exact = (1 - near) * far + near * close
    grid = torch.arange(n, dtype=torch.float64) / n
    distance = torch.maximum(exact - grid, grid + 1 / n - exact).max()
    # Kolmogorov-Smirnov: beyond 1.95 / sqrt(n) with probability 0.001.
    assert distance < 1.95 / n**0.5
    assert low <= x.min()
    assert x.max() <= 1


def test_samples_follow_the_seed_in_every_dtype():
    def draw(seed, dtype=torch.float32):
        return sample(50, curve=Ramp(0.1), delta=0.1, generator=generator(seed), dtype=dtype)[0]

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert torch.equal(draw(0), draw(0, torch.float64).float())


def test_any_function_of_one_variable_will_do():
    x, y = sample(9, curve=lambda x: torch.tanh(8 * x), delta=0.1, generator=generator())
    assert torch.equal(y, torch.tanh(8 * x))
    with pytest.raises(ValueError, match=r"curve must keep the shape of x: \(9, 1\) became \(9,\)"):
        sample(9, curve=lambda x: x[:, 0], delta=0.1, generator=generator())


@pytest.mark.parametrize("curve", [Ramp, Rational])
@pytest.mark.parametrize("delta", [0.0, -1.0, 1.5, float("nan")])
def test_a_width_outside_its_domain_is_refused(curve, delta):
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\], got"):
        curve(delta)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"near": 1.5}, r"near must be in \[0, 1\], got 1.5"),
        ({"step": 2.0}, "low <= step <= high and low < high are needed, got -1.0, 2.0, 1.0"),
        ({"low": 1.0, "step": 1.0}, "low < high are needed"),
        ({"high": float("inf")}, "low < high are needed"),
        ({"delta": 0.0}, r"delta must be in \(0, 1\], got 0.0"),
        ({"delta": 2.0**-22}, "delta must be at least 4.77e-07 in torch.float32, got 2.38e-07"),
        ({"step": 1000.0, "high": 1000.0, "delta": 1e-4}, "delta must be at least 0.000477"),
    ],
)
def test_a_sample_outside_its_domain_is_refused(settings, sentence):
    settings = {"num_samples": 5, "delta": 0.1} | settings
    with pytest.raises(ValueError, match=sentence):
        sample(settings.pop("num_samples"), curve=torch.sign, generator=generator(), **settings)
