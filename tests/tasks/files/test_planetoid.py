"""Cora and Citeseer as they were published: counts of classes, edges and parts."""

import os
from pathlib import Path

import pytest
import torch

from deqlab import tasks

REAL = Path(os.environ.get("DEQLAB_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.mark.parametrize(
    ("name", "classes", "unknown", "isolated", "edges"),
    [
        ("cora", [351, 217, 418, 818, 426, 298, 180], 0, 0, 5278),
        ("citeseer", [249, 590, 668, 701, 596, 508], 15, 48, 4552),
    ],
)
def test_the_public_split_is_what_was_published(name, classes, unknown, isolated, edges):
    if not (REAL / "planetoid").is_dir():
        pytest.skip(f"needs {REAL / 'planetoid'}: point DEQLAB_DATA at the folder that holds it")
    data = tasks.load(name, data_dir=REAL, download=False)
    known = data.y >= 0
    assert data.y[known].bincount().tolist() == classes
    assert int((~known).sum()) == unknown
    parts = torch.stack([data.train, data.validation, data.test])
    assert parts.sum(dim=1).tolist() == [20 * len(classes), 500, 1000]
    assert int(parts.sum(dim=0).max()) == 1
    assert not (parts.any(dim=0) & ~known).any()
    assert data.y[data.train].bincount().tolist() == [20] * len(classes)
    pairs = {(a, b) for a, b in data.edges.T.tolist()}
    assert len(pairs) == data.edges.shape[1] == 2 * edges
    assert all((b, a) in pairs and a != b for a, b in pairs)
    degrees = data.edges[1].bincount(minlength=len(data.y))
    assert int((degrees == 0).sum()) == isolated
    sums = data.x.sum(dim=1)
    assert bool(((sums - 1).abs() < 1e-5).logical_or(sums == 0).all())
