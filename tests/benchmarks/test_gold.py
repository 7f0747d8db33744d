"""What the benchmark calls true: checked by routes of its own."""

import pytest
import torch

from benchmarks import gold
from benchmarks.timing import Counted
from benchmarks.workloads import Workload, workloads


@pytest.fixture
def small() -> Workload:
    (workload,) = workloads("b")
    return workload


def test_gold_gradient_is_that_of_the_unrolled_iteration(small):
    truth = gold.solve(small, gradients=True)
    arguments = small.arguments(torch.float64, trainable=True)
    z = small.z0.double()
    for _ in range(100):  # each halves the error, about
        z = small.cell(z, *arguments)
    loss = (z * small.cotangent().double()).sum()
    unrolled = torch.autograd.grad(loss, arguments)
    assert truth.error(z.detach()) < 1e-11
    assert truth.gradient_error(unrolled) < 1e-10


def test_gold_refuses_what_is_no_fixed_point(small, monkeypatch):
    monkeypatch.setattr(gold, "residual", lambda workload, z: 1e-9)
    with pytest.raises(RuntimeError, match=r"gold of workload b has a residual of 1\.0e-09"):
        gold.solve(small, gradients=False)


def test_both_precisions_are_the_same_problem():
    for workload in workloads("abefgh"):
        z = torch.randn(workload.z0.shape, generator=torch.Generator().manual_seed(0))
        single, double = workload.map()(z), workload.map(torch.float64)(z.double())
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


def test_counted_sees_evaluations_and_products():
    counted = Counted(torch.tanh)
    z = torch.ones(3, requires_grad=True)
    out = counted(z)
    for _ in range(2):
        torch.autograd.grad(out.sum(), z, retain_graph=True)
    with torch.no_grad():
        counted(z)
    assert (counted.evaluations, counted.backward_passes) == (2, 2)


def test_an_unknown_workload_is_named():
    with pytest.raises(ValueError, match="no workload y, z; there are a to h"):
        workloads("ayz")
