"""Prefix sums modulo 2 against a loop, and their theorems."""

from itertools import accumulate, product
from operator import xor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab.tasks import prefix_sums

BITS = st.lists(st.integers(0, 1), min_size=1, max_size=80)
PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=80)


def sums(bits):
    return prefix_sums.evaluate(torch.tensor(bits)).tolist()


@given(BITS)
def test_they_are_running_exclusive_ors(bits):
    assert sums(bits) == list(accumulate(bits, xor))


@given(PAIRS)
def test_they_are_linear_modulo_two(pairs):
    x, y = zip(*pairs, strict=True)
    both = zip(sums(x), sums(y), strict=True)
    assert sums([a ^ b for a, b in pairs]) == [a ^ b for a, b in both]


def test_rows_are_independent_and_any_dtype_will_do():
    bits = torch.tensor(list(product((0, 1), repeat=6)))
    expected = [list(accumulate(row, xor)) for row in bits.tolist()]
    for dtype in (torch.int64, torch.uint8, torch.bool, torch.float32):
        found = prefix_sums.evaluate(bits.to(dtype))
        assert found.dtype == torch.int64
        assert found.tolist() == expected
    assert prefix_sums.evaluate(bits.view(8, 8, 6)).view(64, 6).tolist() == expected
    # uint8 holds no more than 255 ones.
    assert prefix_sums.evaluate(torch.ones(300, dtype=torch.uint8)).tolist() == [1, 0] * 150


@pytest.mark.parametrize("num_bits", [1, 32, 513])
def test_strings_are_uniform_and_follow_the_seed(num_bits):
    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return prefix_sums.sample(3000, num_bits=num_bits, generator=generator)

    bits, targets = drawn(0)
    assert bits.shape == targets.shape == (3000, num_bits)
    assert torch.equal(prefix_sums.evaluate(bits), targets)
    # Every bit, and every sum, is 1 in half of the strings: binomial with deviation 27.
    for values in (bits, targets):
        assert ((values.sum(dim=0) - 1500).abs() < 5 * 27).all()
    assert torch.equal(bits, drawn(0)[0])
    assert not torch.equal(bits, drawn(1)[0])


def test_what_is_no_string_of_bits_is_refused():
    generator = torch.Generator()
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        prefix_sums.sample(0, generator=generator)
    with pytest.raises(ValueError, match="num_bits must be at least 1, got 0"):
        prefix_sums.sample(1, num_bits=0, generator=generator)
    with pytest.raises(ValueError, match="bits must be 0 or 1, but 2 of 4 are others, such as 2"):
        prefix_sums.evaluate(torch.tensor([0, 2, -1, 1]))
    with pytest.raises(ValueError, match="but 1 of 1 are others, such as nan"):
        prefix_sums.evaluate(torch.tensor([float("nan")]))
    with pytest.raises(ValueError, match=r"at least one bit .* got shape \(3, 0\)"):
        prefix_sums.evaluate(torch.zeros(3, 0))
