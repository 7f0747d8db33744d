"""Waves against their formula, and shares against least squares and Parseval."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.tasks.frequencies import Waves

F64 = torch.float64
WAVES = Waves(frequencies=(1, 7, 30), amplitudes=(1.0, -0.5, 2.0), phases=(0.0, 0.3, 4.0))


def by_hand(x):
    return sum(
        a * math.sin(2 * math.pi * k * x + phase)
        for a, k, phase in zip(WAVES.amplitudes, WAVES.frequencies, WAVES.phases, strict=True)
    )


def test_it_is_a_sum_of_sines():
    x, y = WAVES.sample(200, generator=torch.Generator().manual_seed(0), dtype=F64)
    assert x.shape == y.shape == (200, 1)
    assert ((x >= 0) & (x < 1)).all()
    expected = torch.tensor([by_hand(v) for v in x[:, 0].tolist()], dtype=F64)
    torch.testing.assert_close(y[:, 0], expected, rtol=0, atol=1e-12)


def test_amplitudes_are_one_and_phases_zero_unless_given():
    x = torch.rand(50, 1, dtype=F64)
    plain = Waves(frequencies=(3, 5))
    expected = torch.sin(6 * torch.pi * x) + torch.sin(10 * torch.pi * x)
    torch.testing.assert_close(plain.evaluate(x), expected, rtol=0, atol=1e-12)
    grid = plain.grid(64)
    assert plain.shares(plain.evaluate(grid)).tolist() == pytest.approx([1, 1], abs=1e-12)


def test_float32_targets_belong_to_the_rounded_points():
    x, y = WAVES.sample(200, generator=torch.Generator().manual_seed(0))
    assert x.dtype == y.dtype == torch.float32
    assert torch.equal(y, WAVES.evaluate(x.double()).float())


@settings(deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.floats(-2, 2),
    st.integers(61, 500),
)
def test_a_share_is_what_a_prediction_holds_of_a_wave_whatever_else_it_holds(shares, mean, n):
    x = WAVES.grid(n)
    parts = [
        s * a * torch.sin(2 * torch.pi * k * x + p)
        for s, k, a, p in zip(
            shares, WAVES.frequencies, WAVES.amplitudes, WAVES.phases, strict=True
        )
    ]
    other = torch.cos(2 * torch.pi * 12 * x) if n > 12 + 30 else 0  # a wave of no interest
    found = WAVES.shares(sum(parts) + mean + other)
    assert found.tolist() == pytest.approx(shares, abs=1e-10)


def test_a_wave_a_quarter_period_off_is_not_held_at_all_and_an_opposite_one_is_minus_one():
    waves = Waves(frequencies=(5,))
    x = waves.grid(100)
    assert waves.shares(torch.cos(10 * torch.pi * x)).abs().item() < 1e-14
    assert waves.shares(-torch.sin(10 * torch.pi * x)).item() == pytest.approx(-1)


def test_the_error_of_a_prediction_is_that_of_its_shares():
    x = WAVES.grid(128)
    prediction = WAVES.evaluate(x) * 0.25
    error = (prediction - WAVES.evaluate(x)).square().mean().item()
    lost = (1 - WAVES.shares(prediction)).square()
    amplitudes = torch.tensor(WAVES.amplitudes, dtype=F64)
    assert (lost * amplitudes**2 / 2).sum().item() == pytest.approx(error, rel=1e-12)


def test_the_coarsest_grid_still_tells_the_waves_apart_and_one_point_less_is_refused():
    x = WAVES.grid(61)
    assert WAVES.shares(WAVES.evaluate(x)).tolist() == pytest.approx([1, 1, 1], abs=1e-12)
    for refused in (lambda: WAVES.grid(60), lambda: WAVES.shares(torch.zeros(60, 1))):
        with pytest.raises(ValueError, match="up to 30 needs at least 61 points, got 60"):
            refused()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"frequencies": ()}, "frequencies needs different whole numbers"),
        ({"frequencies": (0, 1)}, r"of at least 1, got \[0, 1\]"),
        ({"frequencies": (2, 2)}, r"different whole numbers of at least 1, got \[2, 2\]"),
        ({"frequencies": (1, 2), "phases": (0.0,)}, "phases needs one number for each of 2"),
        ({"frequencies": (1,), "amplitudes": (1.0, 1.0)}, "amplitudes needs one number for each"),
        ({"frequencies": (1,), "amplitudes": (0.0,)}, "amplitudes must not be 0"),
        ({"frequencies": (1,), "phases": (float("nan"),)}, "phases must be finite"),
    ],
)
def test_waves_outside_their_domain_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Waves(**given)


def test_a_sample_has_at_least_one_point():
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        WAVES.sample(0, generator=torch.Generator())
