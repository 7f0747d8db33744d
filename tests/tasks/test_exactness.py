"""Exact scores against counts by hand."""

import pytest
import torch

from deqlab.tasks import Exactness, exact_score


def test_a_sample_is_solved_where_every_part_is_right():
    targets = torch.arange(24).view(4, 2, 3)
    predictions = targets.clone()
    predictions[1, 0, 2] = -1
    predictions[3] = -1
    assert exact_score(predictions, targets) == Exactness(solved=2 / 4, parts=17 / 24)
    assert exact_score(targets, targets) == Exactness(solved=1.0, parts=1.0)
    assert exact_score(targets[:, 0, 0], predictions[:, 0, 0]) == Exactness(solved=0.75, parts=0.75)


def test_what_is_no_prediction_is_refused():
    targets = torch.zeros(4, 16, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"shape of the targets, \(4, 16\), got \(4, 16, 5\)"):
        exact_score(targets[..., None].expand(4, 16, 5), targets)
    with pytest.raises(TypeError, match=r"predictions must be classes.*float32; of logits take"):
        exact_score(targets.float(), targets)
    with pytest.raises(ValueError, match=r"at least one sample.* got shape \(0, 16\)"):
        exact_score(targets[:0], targets[:0])
