"""What is kept of a sample from one epoch to the next, and that it is the caller's."""

import pytest
import torch

from deqlab import DEQ, Picard
from deqlab.nn import DenseCell, SpectralNorm
from deqlab.training import WarmStarts


def rows(*numbers):
    return torch.tensor(numbers)


def test_each_sample_starts_where_it_ended_and_others_where_the_cell_says():
    starts = WarmStarts(5)
    own = torch.full((2, 3), 7.0)
    assert starts.of(rows(4, 0), own) is own  # nothing is known
    ends = torch.arange(6.0).view(2, 3).requires_grad_()
    starts.keep(rows(4, 1), ends)
    found = starts.of(rows(0, 4), own)
    assert torch.equal(found, torch.stack([own[0], ends[0]]))
    assert not found.requires_grad
    starts.keep(
        rows(
            4,
        ),
        torch.ones(1, 3),
    )
    assert torch.equal(starts.of(rows(4, 1), own), torch.stack([torch.ones(3), ends[1].detach()]))


def test_a_state_that_is_not_finite_is_no_start():
    starts = WarmStarts(3)
    starts.keep(rows(0, 1, 2), torch.tensor([[1.0], [torch.nan], [torch.inf]]))
    assert starts.of(rows(0, 1, 2), torch.zeros(3, 1))[:, 0].tolist() == [1, 0, 0]
    starts.keep(rows(0, 1), torch.tensor([[torch.nan], [2.0]]))
    assert starts.of(rows(0, 1), torch.zeros(2, 1))[:, 0].tolist() == [0, 2]


def test_states_of_several_tensors_are_kept_in_their_form():
    starts = WarmStarts(4)
    starts.keep(rows(2), (torch.ones(1, 2), {"c": torch.ones(1, 3, 2)}))
    h, rest = starts.of(rows(1, 2), (torch.zeros(2, 2), {"c": torch.zeros(2, 3, 2)}))
    assert h.tolist() == [[0, 0], [1, 1]]
    assert rest["c"].flatten(1).tolist() == [[0] * 6, [1] * 6]


def test_they_are_saved_and_go_on():
    starts, others = WarmStarts(3), WarmStarts(3)
    others.load_state_dict(starts.state_dict())
    starts.keep(rows(1), torch.ones(1, 2))
    others.load_state_dict(starts.state_dict())
    assert torch.equal(others.of(rows(0, 1), torch.zeros(2, 2)), torch.tensor([[0.0, 0], [1, 1]]))


def test_a_solve_that_starts_there_ends_at_the_same_point_sooner():
    torch.manual_seed(0)
    layer = DEQ(DenseCell(2, 4, constraint=SpectralNorm(0.9)), solver=Picard(rtol=1e-6))
    x, starts, every = torch.randn(8, 2), WarmStarts(8), torch.arange(8)
    starts.keep(every, layer(x))
    with torch.no_grad():
        layer.cell.free.mul_(0.999)  # a small step of training
    cold = layer.solve(x)
    warm = layer.solve(x, z0=starts.of(every, torch.zeros(8, 4)))
    assert warm.evaluations < cold.evaluations
    torch.testing.assert_close(warm.value, cold.value, rtol=1e-4, atol=1e-5)


def test_none_are_refused():
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        WarmStarts(0)
