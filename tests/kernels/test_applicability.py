"""How near data are to what the high-dimensional theory is about: closed forms, and both limits."""

import math

import pytest
import torch

from deqlab.kernels.applicability import applicability


def test_a_cross_has_rows_alike_and_as_many_dimensions_as_features():
    x = torch.cat([torch.eye(5), -torch.eye(5)]).double() + 3  # the mean is taken out
    found = applicability(x)
    assert found.spread == pytest.approx(0, abs=1e-12)
    assert found.dimension == pytest.approx(5)
    assert found.largest == pytest.approx(1)
    x[:, 0] = (x[:, 0] - 3) * 2 + 3  # variances 4, 1, 1, 1, 1
    assert applicability(x).dimension == pytest.approx(64 / 20)


def test_gaussian_vectors_spread_as_chi_squared_numbers_do():
    x = torch.randn(40_000, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert applicability(x).spread == pytest.approx(math.sqrt(2 / 12), rel=0.03)


@pytest.mark.parametrize(
    ("make", "reasons"),
    [
        (lambda z: z, []),
        (lambda z: z[:, :20], ["effective dimension of 1"]),
        (lambda z: z[:50], ["it has 50 rows"]),
        (lambda z: z * (1 + 9 * (torch.arange(300) % 9 == 0))[:, None], ["differ too much"]),
    ],
)
def test_each_reason_is_named_where_it_is_planted(make, reasons):
    z = torch.randn(300, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = applicability(make(z))
    told = list(found.reasons())
    assert len(told) == len(reasons)
    for each, wanted in zip(told, reasons, strict=True):
        assert wanted in each
    assert found.has_heavy_tails == (reasons == ["differ too much"])
