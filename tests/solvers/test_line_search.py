"""The line search: rows, their last good point, and the share of the step that is tried."""

import numpy as np
import pytest
import torch

from deqlab.linalg.norms import weighted_norms
from deqlab.solvers.line_search import DECREASE, SLACK, TRIALS, LineSearch
from tests.problems import F64, normal

Z, D = normal(3, 2, seed=0), normal(3, 2, seed=1)
FZ = normal(3, 2, seed=2)


def started():
    """Three rows at Z with |g| = 1, on their way by a full step D."""
    line = LineSearch.start(torch.zeros_like(Z))
    verdict = line.judge(np.ones(3))
    assert verdict.good.all()
    return line.follow(verdict, Z, FZ, D, line.t)


def test_any_first_point_is_good_and_left_by_a_full_step():
    z_next, line = started()
    assert torch.equal(z_next, Z + D)
    assert torch.equal(line.z, Z)
    assert torch.equal(line.d, D)
    assert line.t.tolist() == [1.0] * 3


def test_each_row_is_judged_by_its_own_residual():
    z1, line = started()
    verdict = line.judge(np.array([0.5, 2.0, np.nan]))
    assert verdict.good.tolist() == [True, False, False]
    assert verdict.bad.tolist() == [False, True, True]
    step = normal(3, 2, seed=3)
    z_next, line = line.follow(verdict, z1, FZ, step, np.array([0.9, 0.25, 0.125]))
    assert torch.equal(z_next[0], z1[0] + step[0])
    assert torch.equal(z_next[1], Z[1] + 0.25 * D[1])
    assert torch.equal(z_next[2], Z[2] + 0.125 * D[2])
    assert torch.equal(line.z, torch.stack([z1[0], Z[1], Z[2]]))
    assert torch.equal(line.d, torch.stack([step[0], D[1], D[2]]))
    assert line.size.tolist() == [0.5, 1.0, 1.0]
    assert line.t.tolist() == [1.0, 0.25, 0.125]
    assert line.trials.tolist() == [0, 1, 1]


def test_a_step_must_lower_the_residual_by_a_share_of_t():
    _, line = started()
    # But for what rounding may cost a step that just crosses a kink.
    slack = SLACK * 2.0**-26
    edge = 1 - DECREASE + slack
    assert line.judge(np.full(3, edge - 1e-9)).good.all()
    assert not line.judge(np.full(3, edge + 1e-9)).good.any()
    _, line = line.follow(line.judge(np.full(3, 2.0)), Z, FZ, D, np.full(3, 0.5))
    edge = 1 - 0.5 * DECREASE + slack
    assert line.judge(np.full(3, edge - 1e-9)).good.all()
    assert not line.judge(np.full(3, edge + 1e-9)).good.any()


def test_a_row_that_no_t_helps_starts_anew_from_its_image_and_takes_what_comes():
    z, line = started()
    for trial in range(TRIALS):
        verdict = line.judge(np.array([0.9**trial, 2.0, 2.0]))
        assert verdict.lost.tolist() == [False] + [trial == TRIALS - 1] * 2
        z, line = line.follow(verdict, z, FZ, D, line.t / 2)
    assert torch.equal(z[1:], FZ[1:])
    assert not torch.equal(z[0], FZ[0])
    assert line.size[1:].tolist() == [np.inf] * 2
    assert line.trials.tolist() == [0] * 3
    assert line.judge(np.array([1.0, 1e9, 1e9])).good[1:].all()


@pytest.mark.parametrize(("size", "least"), [(1.0, 0.5), (2.0, 0.2), (1e9, 0.1), (np.inf, 0.1)])
def test_a_shorter_step_ends_where_a_parabola_is_least(size, least):
    # |g|^2 is 1 - 2 t + (size^2 + 1) t^2, least at t = 1 / (size^2 + 1).
    _, line = started()
    np.testing.assert_allclose(line.shorter(np.full(3, size)), least)
    line.t = np.full(3, 0.25)
    assert (line.shorter(np.full(3, np.nan)) == 0.025).all()


def test_norms_are_in_units_of_the_weights():
    g = torch.tensor([[3.0, 4e6]], dtype=F64)
    assert weighted_norms(g, None).tolist() == [pytest.approx(4e6)]
    weights = torch.tensor([[1.0, 1e-6]], dtype=F64)
    assert weighted_norms(g, weights).tolist() == [pytest.approx(5.0)]
