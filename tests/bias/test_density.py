"""The participation ratio counts equal features, at any scale."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab.bias import participation_ratio


@given(st.integers(1, 30), st.integers(0, 30), st.floats(1e-300, 1e300))
def test_it_is_the_share_of_equal_features(ones, zeros, scale):
    b = torch.tensor([scale, -scale] * ones + [0.0] * zeros, dtype=torch.float64)
    share = 2 * ones / (2 * ones + zeros)
    assert participation_ratio(b).item() == pytest.approx(share, rel=1e-12)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1).filter(lambda b: any(abs(v) > 1e-3 for v in b)))
def test_it_is_its_formula_and_between_one_over_n_and_one(values):
    found = participation_ratio(torch.tensor(values, dtype=torch.float64)).item()
    total, squares = sum(map(abs, values)), sum(v * v for v in values)
    assert found == pytest.approx(total**2 / (len(values) * squares), rel=1e-12)
    assert 1 / len(values) - 1e-12 <= found <= 1 + 1e-12


def test_it_works_along_the_last_axis():
    b = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert participation_ratio(b).tolist() == [1, 0.5]


@pytest.mark.parametrize("bad", [[0.0, 0.0], [], [1.0, float("nan")], [1.0, float("inf")]])
def test_what_has_no_ratio_is_refused(bad):
    with pytest.raises(ValueError, match="needs finite numbers that are not all 0"):
        participation_ratio(torch.tensor(bad))
