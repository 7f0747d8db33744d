import numpy as np
import pytest

from deqlab.linalg.rates import SLOWEST, SPAN, recent_rate


@pytest.mark.parametrize("length", [2, 3, SPAN + 1, 12])
def test_a_geometric_sequence_has_its_own_rate(length):
    ratio = np.array([0.1, 0.5, 0.9])
    trace = [7.0 * ratio**k for k in range(length)]
    np.testing.assert_allclose(recent_rate(trace), ratio, rtol=1e-12)


def test_only_the_last_steps_count():
    trace = [np.array([1e9])] * 5 + [np.array([0.5**k]) for k in range(SPAN + 1)]
    np.testing.assert_allclose(recent_rate(trace), 0.5, rtol=1e-12)


def test_nothing_is_known_of_a_single_residual():
    assert recent_rate([np.ones(3)]).tolist() == [0.0, 0.0, 0.0]


def test_growth_and_nan_count_as_the_slowest_rate_and_zero_as_the_fastest():
    trace = [np.array([1.0, 1.0, np.nan, 1.0]), np.array([2.0, 1.0, 1.0, 0.0])]
    with np.errstate(all="ignore"):
        assert recent_rate(trace).tolist() == [SLOWEST, SLOWEST, SLOWEST, 0.0]
