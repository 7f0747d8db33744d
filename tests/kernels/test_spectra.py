"""Measures of kernel matrices against closed forms."""

from itertools import pairwise

import pytest
import torch

from deqlab.kernels.spectra import (
    Spectrum,
    alignments,
    geometric_ranks,
    log_histogram,
    power_law,
    relative_error,
    scaled_errors,
)
from tests.problems import F64, normal


def test_errors_are_relative_and_in_spectral_norm():
    exact = torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=F64))
    found = torch.diag(torch.tensor([4.0, 2.0, -1.0], dtype=F64))
    assert relative_error(found, exact) == 0.5
    assert scaled_errors(found, exact)[0] == pytest.approx(0.5)
    assert scaled_errors(3 * exact, exact) == pytest.approx((2.0, 0.0))


def test_errors_that_fall_like_a_power_have_its_exponent():
    assert power_law([8 * size**-0.5 for size in (16, 64, 256)], (16, 64, 256)) == pytest.approx(
        0.5
    )


def test_ranks_grow_geometrically_from_first_to_last():
    assert geometric_ranks(1, 60) == [1]
    ranks = geometric_ranks(1000, 10)
    assert (ranks[0], ranks[-1]) == (1, 1000)
    assert len(ranks) <= 10
    assert ranks == sorted(set(ranks))


def test_a_histogram_has_every_value_within_its_ends():
    values = torch.tensor([2.0, 1.0, 0.1, 1e-9], dtype=F64)
    bins = log_histogram(values, 2.0, low=1e-2, high=1.5, bins=7)
    assert sum(share for _, share in bins) == pytest.approx(0.75)
    centres = [centre for centre, _ in bins]
    ratios = [b / a for a, b in pairwise(centres)]
    assert ratios == pytest.approx([ratios[0]] * 6)


def test_leading_vectors_are_aligned_with_their_own_space_whatever_their_order():
    basis, _ = torch.linalg.qr(normal(6, 6, seed=0))
    values = torch.arange(6, 0, -1, dtype=F64)
    exact = Spectrum(matrix=basis @ torch.diag(values) @ basis.T, values=values, vectors=basis)
    swapped = Spectrum(matrix=exact.matrix, values=values, vectors=basis[:, [1, 0, 5]])
    assert alignments(exact, exact, 3) == pytest.approx([1.0] * 3)
    assert alignments(swapped, exact, 3) == pytest.approx([1.0, 1.0, 0.0], abs=1e-12)
