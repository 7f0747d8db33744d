"""How a trained network is tested."""

import torch

from deqlab.experiments.expressivity.open import entrants
from deqlab.expressivity.search.initial import exact_deq
from deqlab.expressivity.search.modules import as_deq


def test_regions_are_counted_unless_rounding_hides_them(monkeypatch):
    x = torch.linspace(0.01, 0.99, 7, dtype=torch.float64)[:, None]
    module = as_deq(exact_deq(3, 4))
    assert entrants.tested(module, x, x)["regions"] == 8

    def hidden(*args):
        raise ValueError("there is more than one equilibrium")

    monkeypatch.setattr(entrants, "equilibrium_pieces", hidden)
    row = entrants.tested(module, x, x)
    assert "regions" not in row
    assert row["converged"] == 1
