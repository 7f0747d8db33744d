"""The interval of a mean over seeds and samples is that of resampled means."""

import pytest
import torch

from deqlab.experiments.comparing.bootstrap import LEVEL, bootstrap
from tests.problems import F64, normal


def test_with_one_seed_the_interval_is_that_of_a_mean():
    sample = 3 + 2 * normal(500, seed=0)
    found = bootstrap([sample])
    half = 1.96 * (sample.std() / 500**0.5).item()
    assert found.estimate == pytest.approx(sample.mean().item(), abs=1e-12)
    # The end of a percentile interval from 2,000 resamples strays by some 4 % of its length.
    assert found.low == pytest.approx(found.estimate - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.estimate + half, abs=0.15 * half)


def test_seeds_that_disagree_widen_the_interval():
    constants = [torch.full((50,), float(value), dtype=F64) for value in (0, 1)]
    found = bootstrap(constants)
    assert (found.estimate, found.low, found.high) == (0.5, 0.0, 1.0)
    # Three seeds, all alike, have no spread; sizes may differ.
    same = bootstrap([torch.full((n,), 0.25, dtype=F64) for n in (10, 20, 30)])
    assert (same.estimate, same.low, same.high) == (0.25, 0.25, 0.25)


def test_seeds_weigh_the_same_whatever_their_number_of_images():
    found = bootstrap([torch.zeros(10, dtype=F64), torch.ones(90, dtype=F64)])
    assert found.estimate == 0.5


def test_the_interval_has_the_level():
    assert bootstrap([torch.zeros(3, dtype=F64)]).confidence == LEVEL == 0.95
