"""Gradient descent on a diagonal DEQ: short steps follow the flow, and measured is as computed."""

import numpy as np
import pytest
import torch

from deqlab.bias import Gated, Linear, Product, Recurrent
from deqlab.bias.descent import FIT, descend
from tests.bias.problems import problem


@pytest.mark.parametrize("model", [Linear(), Recurrent(), Gated(), Product()])
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_all_models_start_at_the_scale(model, scale):
    beta = model.coefficients(model.start(scale, 5))
    np.testing.assert_allclose(beta, np.full(5, scale), rtol=1e-14)


def test_shorter_steps_end_closer_to_the_limit_of_the_flow():
    model = Recurrent()
    x, y = map(torch.from_numpy, problem(0, samples=1, features=4)[:2])
    ends = [
        descend(model, model.start(1.0, 4), x, y, share=share, max_steps=500).closed_form
        for share in (0.2, 0.1, 0.02)
    ]
    errors = [float(torch.linalg.vector_norm(end - ends[2])) for end in ends[:2]]
    assert errors[1] < 0.6 * errors[0]


def test_it_stops_at_the_fit_with_coefficients_that_are_those_of_the_weights():
    model = Gated()
    x, y = map(torch.from_numpy, problem(0, samples=1, features=4)[:2])
    found = descend(model, model.start(1.0, 4), x, y, share=0.1, max_steps=2000)
    assert found.fit <= FIT
    assert 0 < found.steps < 2000
    torch.testing.assert_close(found.coefficients, found.closed_form, rtol=1e-4, atol=0)
    assert found.converged == 1
