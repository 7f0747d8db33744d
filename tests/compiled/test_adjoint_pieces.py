"""The pieces of a compiled backward pass, called as they are, beside those of the eager one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab.compiled.gmres import FIRST, ROOM, System, gmres, longest
from deqlab.compiled.linearised import linearised
from deqlab.linalg.gmres import gmres as eager
from tests.problems import F64, matrix, normal


def product(v, a):
    return torch.einsum("bij,bj->bi", a, v)


def assert_agree(a, b, tolerance, *, limit=50, needed=None, rtol):
    """The same products, verdicts and residuals, and x to rounding."""
    needed = torch.ones(len(b), dtype=torch.bool) if needed is None else needed
    expected = eager(
        lambda v: product(v, a),
        b,
        tolerance=tolerance.numpy(),
        max_products=limit,
        needed=needed.numpy(),
    )
    x, rows = gmres(product, (a,), System(b, tolerance, needed, torch.tensor(limit)))
    assert rows.products.item() == expected.products
    assert rows.failed.tolist() == expected.failed.tolist()
    assert (rows.residual <= tolerance).tolist() == expected.converged.tolist()
    torch.testing.assert_close(x, expected.x, rtol=rtol, atol=rtol * b.abs().max().item())
    size = torch.linalg.vector_norm(b.double(), dim=1)
    rounding = 100 * torch.finfo(b.dtype).eps * size.numpy()
    close = np.abs(rows.residual.numpy() - expected.residual)
    assert (rows.residual >= torch.finfo(b.dtype).eps * size).all()  # claims no more than that
    sound = ~expected.failed
    assert (close[sound] <= 1e-2 * expected.residual[sound] + rounding[sound]).all()
    trace = np.concatenate([np.linalg.norm(b.double(), axis=1)[None], expected.trace])
    assert rows.steps.tolist() == (trace > expected.tolerance).sum(axis=0).tolist()
    return x, rows


@given(
    seed=st.integers(0, 1000),
    norm=st.sampled_from([0.3, 0.9, 2.0]),
    dim=st.sampled_from([1, 2, 7]),
    single=st.booleans(),
    limit=st.sampled_from([1, 3, 50]),
)
def test_any_systems_take_the_products_of_the_eager_solve(seed, norm, dim, single, limit):
    # Rows of their own matrix and size; one is zero, one has a nan, one is not waited for.
    dtype = torch.float32 if single else F64
    a = torch.stack([matrix(dim, norm=norm, seed=seed + i) for i in range(6)]).to(dtype)
    b = (normal(6, dim, seed=seed + 9) * torch.tensor([[1.0], [1e5], [1e-9], [0], [1], [1]])).to(
        dtype
    )
    a[4, 0, 0] = torch.nan
    needed = torch.tensor([True] * 5 + [False])
    tolerance = (1e-3 if single else 1e-8) * torch.linalg.vector_norm(b.double(), dim=1)
    rtol = 3e-3 if single else 1e-7  # of a matrix that may be nearly singular
    assert_agree(a, b, tolerance, limit=limit, needed=needed, rtol=rtol)


def test_a_space_that_is_exhausted_and_one_that_is_singular():
    q = torch.linalg.qr(normal(3, 3, seed=2))[0]
    a = torch.stack([q @ q.T, 0.5 * torch.eye(3, dtype=F64), matrix(3, norm=0.5, seed=0)])
    b = normal(3, 3, seed=1)
    # A fourth product would measure, outside, that the first row has not come closer.
    x, rows = assert_agree(a, b, torch.full((3,), 1e-10, dtype=F64), limit=3, rtol=1e-9)
    assert (rows.residual <= 1e-10).tolist() == [False, True, True]
    torch.testing.assert_close(x[1], 2 * b[1])


def test_a_row_that_is_not_waited_for_gets_the_products_of_the_others():
    a = torch.stack([0.5 * torch.eye(3, dtype=F64), matrix(3, norm=0.9, seed=0)])
    needed, tolerance = torch.tensor([True, False]), torch.full((2,), 1e-10, dtype=F64)
    _, rows = assert_agree(a, normal(2, 3, seed=1), tolerance, needed=needed, rtol=1e-9)
    assert rows.products == 1


def test_there_is_room_for_a_whole_small_state_and_for_thirty_states_of_a_large_one():
    assert longest(torch.empty(64, 64)) == 64
    assert longest(torch.empty(1, 4096)) == ROOM // 4096
    assert longest(torch.empty(32, 49152, device="meta")) == FIRST


@pytest.mark.parametrize("depends", [True, False])
def test_the_derivative_is_split_and_what_does_not_move_is_computed_once(depends):
    w, x, z, v = (
        matrix(4, norm=0.9, seed=0),
        normal(3, 4, seed=1),
        normal(3, 4, seed=2),
        normal(3, 4, seed=3),
    )

    def f(z, w, idle, x):
        return torch.tanh((z if depends else z.detach()) @ w.T + x).exp()

    linear = linearised(f, z, (w, torch.ones(1), x), (True, True, False))
    assert linear.depends == (True, False, False)
    kept = linear.point(z, w, torch.ones(1), x)
    leaf, weight = z.clone().requires_grad_(), w.clone().requires_grad_()
    expected = torch.autograd.grad(f(leaf, weight, None, x), (leaf, weight), v, allow_unused=True)
    *image, by_w = linear.leave(v, *kept)
    torch.testing.assert_close(by_w, expected[1])
    if not depends:
        assert linear.product is None
        assert not image
        return
    torch.testing.assert_close(linear.product(v, *kept[: linear.kept])[0], expected[0])
    torch.testing.assert_close(image[0], expected[0])
    called = {str(node.target) for node in linear.product.graph.nodes}
    assert called.isdisjoint({"aten.tanh.default", "aten.exp.default"})
    assert "aten.exp.default" in {str(node.target) for node in linear.point.graph.nodes}
