"""Layers of control: what the functions return, watched by the log, and refused in a sentence."""

import pytest
import torch

from deqlab.control import MPCLayer, RegulatorLayer, box_mpc, lqr
from deqlab.solvers import Box


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_a_layer_is_the_regulator_with_its_gradients():
    given = [drawn(2, 3, 3, 3), drawn(3, 2, seed=1), torch.eye(3).double(), torch.eye(2).double()]
    leaves = [[each.clone().requires_grad_() for each in given] for _ in range(2)]
    layer = RegulatorLayer()
    found, gold = layer(*leaves[0]), lqr(*leaves[1])
    torch.testing.assert_close(found.gain, gold.gain, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.radius, gold.radius, rtol=0, atol=1e-9)
    for regulator in (found, gold):
        regulator.gain.square().sum().backward()
    for one, other in zip(*leaves, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-7)
    assert layer.deq.last.converged.shape == (6,)
    assert len(layer.deq.last.adjoint) == 1


def test_a_layer_refuses_what_nothing_stabilises():
    a, b = torch.diag(torch.tensor([1.2, 0.5])), torch.tensor([[0.0], [1.0]])
    with pytest.raises(ValueError, match=r"system 0 is not stabilisable.*eigenvalue 1\.2,"):
        RegulatorLayer()(a, b, torch.eye(2), torch.eye(1))


def test_a_layer_plans_as_the_function_does():
    a, b = drawn(2, 1, 3, 3) / 2, drawn(2, 1, 3, 2, seed=1)
    q, r, x0 = torch.eye(3).double(), torch.eye(2).double(), 3 * drawn(2, 5, 3, seed=2)
    box = Box(torch.tensor([-0.5, -1.0]).double(), 1.0)
    gold = box_mpc(a, b, q, r, x0, box, horizon=4, terminal=2 * q)
    layer = MPCLayer(box, 2, horizon=4)
    found = layer(a, b, q, r, x0, 2 * q)
    assert found.shape == (2, 5, 4, 2)
    torch.testing.assert_close(found, gold.inputs, rtol=0, atol=1e-9)
    assert 0.1 < (found <= -0.5).double().mean() < 0.9
    assert layer.deq.last.converged.shape == (10,)


def test_a_system_for_each_start_shares_what_they_have_in_common():
    a, b, eye = drawn(4, 3, 3) / 2, drawn(3, 1, seed=1), torch.eye(3).double()
    x0, r = drawn(4, 3, seed=2), torch.eye(1).double()
    found = box_mpc(a, b, eye, r, x0, Box(-1.0, 1.0), horizon=3).inputs
    for i in range(4):
        alone = box_mpc(a[i], b, eye, r, x0[i], Box(-1.0, 1.0), horizon=3).inputs
        torch.testing.assert_close(found[i], alone, rtol=0, atol=1e-9)
