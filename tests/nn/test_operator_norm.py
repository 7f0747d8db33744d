"""The operator norm of a convolution: its value, its gradient, and what it remembers."""

import copy

import pytest
import torch
from torch import nn

from deqlab.nn import OperatorNorm
from tests.nn.operators import exact_norm, matrix_of
from tests.problems import normal


def filters_of(*shape, seed=0):
    return nn.Parameter(normal(*shape, seed=seed))


@pytest.mark.parametrize(
    ("shape", "size", "options"),
    [
        ((4, 3, 3, 3), (5, 6), {}),
        ((3, 4, 5, 5), (4, 7), {}),
        ((4, 2, 3, 3), (5, 4), {"groups": 2}),
        ((4, 1, 3, 3), (5, 4), {"groups": 4}),
        ((6, 4, 3, 3), (8, 6), {"stride": 2}),
        ((2, 3, 1, 1), (3, 3), {}),
        ((2, 2, 5, 5), (1, 2), {}),
    ],
)
def test_it_is_the_norm_of_the_matrix_when_it_is_made(shape, size, options):
    w = filters_of(*shape)
    torch.manual_seed(0)
    norm = OperatorNorm(w, size, **options)(w)
    # The Krylov space has 40 dimensions, of up to 120: the vector is exact to the square root.
    assert norm.item() == pytest.approx(exact_norm(w, size, **options), rel=1e-4)


def test_its_gradient_is_that_of_the_largest_singular_value():
    w, size = filters_of(3, 2, 3, 3), (4, 5)
    (found,) = torch.autograd.grad(OperatorNorm(w, size)(w), w)
    slopes = torch.empty_like(w)
    for i in range(w.numel()):
        ends = []
        for step in (1e-6, -1e-6):
            moved = w.detach().clone()
            moved.view(-1)[i] += step
            ends.append(exact_norm(moved, size))
        slopes.view(-1)[i] = (ends[0] - ends[1]) / 2e-6
    torch.testing.assert_close(found, slopes, rtol=1e-5, atol=1e-7)


def test_it_follows_filters_that_train_and_never_exceeds_the_norm():
    w, size = filters_of(4, 4, 3, 3), (6, 6)
    norm = OperatorNorm(w, size)
    for step in range(30):
        with torch.no_grad():
            w += 0.05 * normal(*w.shape, seed=step)
        share = norm(w).item() / exact_norm(w, size)
        # A step that raises it by less than 0.3 % is the last; close singular values take many.
        assert 0.9 < share <= 1 + 1e-12


def test_it_recovers_from_other_filters_than_it_was_made_for():
    w, size = filters_of(4, 4, 3, 3), (6, 6)
    norm = OperatorNorm(w, size)
    for scale, seed in ((1.0, 5), (30.0, 6), (1e-3, 7)):
        other = scale * normal(*w.shape, seed=seed)
        assert norm(other).item() == pytest.approx(exact_norm(other, size), rel=0.05)


def test_a_group_that_was_small_is_seen_when_it_grows():
    w, size = filters_of(4, 2, 3, 3).detach(), (5, 5)
    w[:2] *= 1e-3
    norm = OperatorNorm(w, size, groups=2)
    for _ in range(60):  # long enough for a common vector to vanish in the small group
        w[2:] *= 1.001
        norm(w)
    w[:2] *= 1e5
    assert norm(w).item() == pytest.approx(exact_norm(w, size, groups=2), rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_same_filters_have_the_same_norm_in_every_mode_and_in_copies(dtype):
    w = filters_of(4, 4, 3, 3)
    norm = OperatorNorm(w, (5, 5)).to(dtype)
    w = w.detach().to(dtype)
    first = norm(w)
    assert first.dtype == dtype
    assert first.item() == pytest.approx(exact_norm(w, (5, 5)), rel=5e-2)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    assert norm(w) == norm.eval()(w) == copy.deepcopy(norm)(w) == first
    with torch.inference_mode():
        assert norm(w) == first
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before[name])
    other = OperatorNorm(filters_of(4, 4, 3, 3, seed=8).to(dtype), (5, 5))
    other.load_state_dict(norm.state_dict())
    assert other(w) == first


def test_autocast_does_not_make_it_rough():
    w = filters_of(4, 4, 3, 3).float()
    norm = OperatorNorm(w, (5, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm(w).item() == pytest.approx(exact_norm(w, (5, 5)), rel=1e-5)


def test_two_solves_before_one_backward_and_steps_under_inference_mode():
    w = filters_of(4, 4, 3, 3)
    norm = OperatorNorm(w, (5, 5))
    one = norm(w)
    with torch.no_grad(), torch.inference_mode():
        norm(w.detach() * 1.5 + 0.1)  # writes the vector that the first tape kept
    (one + norm(w)).backward()
    assert w.grad.isfinite().all()


def test_zero_filters_stay_zero_with_a_finite_gradient_and_come_back():
    w = nn.Parameter(torch.zeros(2, 2, 3, 3, dtype=torch.float64))
    norm = OperatorNorm(w, (4, 4))
    unit = norm.normalised(w)
    assert not unit.any()
    unit.sum().backward()
    assert w.grad.isfinite().all()
    other = normal(2, 2, 3, 3, seed=3)
    assert norm(other).item() == pytest.approx(exact_norm(other, (4, 4)), rel=0.05)
    assert exact_norm(norm.normalised(other), (4, 4)) == pytest.approx(1, rel=0.05)


def test_the_norm_at_a_smaller_size_is_no_larger():
    w = filters_of(3, 3, 3, 3)
    whole = matrix_of(w, (6, 6))
    assert exact_norm(w, (4, 5)) <= exact_norm(w, (6, 6)) == torch.linalg.matrix_norm(whole, ord=2)


def test_a_size_that_is_none_is_refused():
    w = filters_of(2, 2, 3, 3)
    with pytest.raises(ValueError, match=r"size must be a height and a width, got \(4,\)"):
        OperatorNorm(w, (4,))
    with pytest.raises(ValueError, match="each of size must be at least 1, got 0"):
        OperatorNorm(w, (4, 0))
