"""Phantom and JacobianFree: sums of k terms, in closed form on scalars and by dense matrix powers.

With J at z*, u the cotangent and q = lambda J + (1 - lambda) I,

    v = lambda sum_{t < k} (q')^t u,    and for scalars v = (1 - q^k) / (1 - J) u.

For z = wz + x: dz/dx = v and dz/dw = v z*.
"""

import pytest
import torch

from deqlab import Anderson, Status, fixed_point
from deqlab.gradients import Implicit, JacobianFree, Phantom, Unrolled
from tests.problems import F64, affine_solution, matrix, normal, symmetric_with

SOLVER = Anderson(rtol=1e-13, atol=0.0, max_steps=500)
FORMS = pytest.mark.parametrize("unrolled", [False, True], ids=["Neumann", "unrolled"])
SETTINGS = pytest.mark.parametrize(
    ("steps", "damping"), [(1, 1.0), (1, 0.3), (2, 0.7), (5, 1.0), (5, 0.5), (12, 0.8)]
)
W, X, U = matrix(4, norm=0.8, seed=0), normal(3, 4, seed=1), normal(3, 4, seed=2)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def affine(z, w, x):
    return z @ w.T + x


def leaves(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


def gradients(gradient, f=cell, tensors=(W, X), u=U, solver=SOLVER):
    inputs = leaves(*tensors)
    value = fixed_point(f, torch.zeros_like(u), *inputs, solver=solver, gradient=gradient).value
    return torch.autograd.grad(value, inputs, u)


def phantom_sum(jacobian, u, steps, damping):
    """v by dense powers; `jacobian` is (B, D, D)."""
    q = damping * jacobian.mT + (1 - damping) * torch.eye(u.shape[1], dtype=F64)
    terms = [torch.linalg.matrix_power(q, t) @ u[:, :, None] for t in range(steps)]
    return damping * sum(terms).squeeze(2)


@FORMS
@SETTINGS
@pytest.mark.parametrize("w", [0.8, -0.5, 0.0])
def test_the_gradient_of_the_scalar_map_is_its_closed_form(w, steps, damping, unrolled):
    gradient = Phantom(steps=steps, damping=damping, unrolled=unrolled)
    tensors = (torch.tensor([[w]], dtype=F64), torch.tensor([[2.0]], dtype=F64))
    f = lambda z, w, x: w * z + x  # noqa: E731
    by_w, by_x = gradients(gradient, f, tensors, torch.ones(1, 1, dtype=F64))
    v = (1 - (damping * w + 1 - damping) ** steps) / (1 - w)
    assert by_x.item() == pytest.approx(v, rel=1e-12)
    assert by_w.item() == pytest.approx(v * 2 / (1 - w), rel=1e-11)


@FORMS
@SETTINGS
def test_the_gradient_of_a_tanh_cell_is_a_polynomial_in_its_jacobian(steps, damping, unrolled):
    by_w, by_x = gradients(Phantom(steps=steps, damping=damping, unrolled=unrolled))
    z = torch.zeros_like(X)
    for _ in range(400):  # contracts by 0.8: 0.8^400 < 1e-38
        z = cell(z, W, X)
    slope = 1 - z**2
    v = slope * phantom_sum(slope[:, :, None] * W, U, steps, damping)
    # The solve to 1e-13, amplified by 1 / (1 - 0.8) and by k slopes.
    torch.testing.assert_close(by_x, v, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(by_w, v.T @ z, rtol=1e-10, atol=1e-10)


@SETTINGS
def test_both_forms_agree_on_an_affine_map_wherever_the_solve_ended(steps, damping):
    # J is the same everywhere: by x, the two forms are one polynomial even far from z*.
    early = Anderson(rtol=0.3)
    forms = [
        gradients(Phantom(steps=steps, damping=damping, unrolled=form), affine, solver=early)[1]
        for form in (False, True)
    ]
    torch.testing.assert_close(*forms, rtol=1e-13, atol=1e-13)


def test_both_forms_agree_to_first_order_at_a_fixed_point():
    # What separates them is where the steps are taken: as far apart as the solve is from its end.
    gaps = []
    for rtol in (1e-2, 1e-4, 1e-6, 1e-8):
        solver = Anderson(rtol=rtol)
        forms = [
            gradients(Phantom(steps=4, damping=0.7, unrolled=form), solver=solver)[1]
            for form in (False, True)
        ]
        gaps.append((forms[0] - forms[1]).norm() / forms[0].norm() / rtol)
    assert all(0 < gap < 10 for gap in gaps), gaps


@FORMS
def test_the_error_shrinks_by_the_damped_radius_with_each_step(unrolled):
    # On one eigenvector of J, v is short of the exact one by q^k of it.
    w = symmetric_with([0.9, 0.5, -0.5, 0.1], seed=3)
    _, basis = torch.linalg.eigh(w)
    u = basis[:, -1][None].clone()  # of the eigenvalue 0.9
    exact = affine_solution(w.T, u)
    for steps in (1, 4, 16, 64):
        gradient = Phantom(steps=steps, damping=0.5, unrolled=unrolled)
        _, by_x = gradients(gradient, affine, (w, X[:1]), u)
        torch.testing.assert_close(by_x, (1 - 0.95**steps) * exact, rtol=1e-11, atol=1e-12)


@FORMS
def test_many_steps_tend_to_the_implicit_gradient(unrolled):
    expected = gradients(Implicit())
    got = gradients(Phantom(steps=150, unrolled=unrolled))
    # 0.8^150 = 3e-15, and solves to 1e-13.
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@FORMS
def test_damping_converges_where_the_undamped_sum_diverges(unrolled):
    # J = -1.2: undamped q = -1.2, with lambda = 1/2 q = -0.1.
    f = lambda z, x: -1.2 * z + x  # noqa: E731
    tensors, u = (torch.ones(1, 1, dtype=F64),), torch.ones(1, 1, dtype=F64)
    (damped,) = gradients(Phantom(steps=16, damping=0.5, unrolled=unrolled), f, tensors, u)
    (plain,) = gradients(Phantom(steps=16, unrolled=unrolled), f, tensors, u)
    assert damped.item() == pytest.approx(1 / 2.2, rel=1e-12)
    assert plain.item() == pytest.approx((1 - 1.2**16) / 2.2, rel=1e-12)


@FORMS
def test_one_undamped_step_is_the_jacobian_free_gradient_bit_for_bit(unrolled):
    one, free = gradients(Phantom(steps=1, unrolled=unrolled)), gradients(JacobianFree())
    assert all(torch.equal(a, b) for a, b in zip(one, free, strict=True))


def test_the_undamped_unrolled_form_is_truncated_unrolling_bit_for_bit():
    phantom, truncated = gradients(Phantom(steps=4, unrolled=True)), gradients(Unrolled(steps=4))
    assert all(torch.equal(a, b) for a, b in zip(phantom, truncated, strict=True))


def test_the_jacobian_free_gradient_is_the_derivative_of_one_evaluation():
    by_w, by_x = gradients(JacobianFree())
    z = fixed_point(cell, torch.zeros_like(X), W, X, solver=SOLVER).value
    inputs = leaves(W, X)
    expected = torch.autograd.grad(cell(z, *inputs), inputs, U)
    assert torch.equal(by_w, expected[0])
    assert torch.equal(by_x, expected[1])


@pytest.mark.parametrize("gradient", [Phantom(), Phantom(unrolled=True), JacobianFree()])
def test_the_value_is_that_of_the_solve_alone_bit_for_bit(gradient):
    plain = fixed_point(cell, torch.zeros_like(X), W, X, solver=Anderson(rtol=1e-2))
    (x,) = leaves(X)
    solution = fixed_point(
        cell, torch.zeros_like(X), W, x, solver=Anderson(rtol=1e-2), gradient=gradient
    )
    assert solution.value.requires_grad
    assert torch.equal(solution.value, plain.value)
    assert solution.evaluations == plain.evaluations
    assert solution.adjoint == []


@pytest.mark.parametrize(
    ("gradient", "taped"),
    [
        (JacobianFree(), 1),
        (Phantom(steps=7), 1),
        (Phantom(steps=7, unrolled=True), 7),
        (Phantom(steps=7, damping=0.5, unrolled=True), 7),
    ],
)
def test_evaluations_with_a_tape_are_one_or_one_a_step(gradient, taped):
    modes = []

    def f(z, w, x):
        modes.append(torch.is_grad_enabled())
        return cell(z, w, x)

    gradients(gradient, f)
    assert modes[-taped:] == [True] * taped
    assert not any(modes[:-taped])


# Second derivatives


def derivative(value, w):
    return torch.autograd.grad(value.sum(), w, create_graph=True)[0]


@pytest.mark.parametrize(("steps", "damping"), [(1, 1.0), (3, 1.0), (4, 0.6)])
def test_second_derivatives_of_the_neumann_form_follow_its_own_rule(steps, damping):
    # The first one is v z*, v a polynomial in w, and z* moves by dz*/dw = v z* again.
    w = torch.tensor([[0.6], [-0.4]], dtype=F64, requires_grad=True)
    b = torch.tensor([[1.5], [2.0]], dtype=F64)
    f = lambda z, w: w * z + b  # noqa: E731
    gradient = Phantom(steps=steps, damping=damping)
    first = derivative(
        fixed_point(f, torch.zeros_like(b), w, solver=SOLVER, gradient=gradient).value, w
    )
    second = derivative(first, w)
    q = damping * w.detach() + 1 - damping
    v = damping * sum(q**t for t in range(steps))
    slope = damping * sum(t * q ** (t - 1) * damping for t in range(1, steps))
    z = b / (1 - w.detach())
    torch.testing.assert_close(first, v * z, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(second, slope * z + v * v * z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("damping", [1.0, 0.6])
def test_second_derivatives_of_the_unrolled_form_are_those_of_finite_differences(damping):
    # It is the derivative of k steps from z*, which stands still.
    w, x = leaves(W, X)
    gradient = Phantom(steps=3, damping=damping, unrolled=True)
    value = fixed_point(cell, torch.zeros_like(X), w, x, solver=SOLVER, gradient=gradient).value
    (by_x,) = torch.autograd.grad(value, x, U, create_graph=True)
    direction = normal(3, 4, seed=4)
    by_w, by_xx = torch.autograd.grad(by_x, (w, x), direction)

    def slope(w, x):
        """`direction` times the gradient by x, of a plain loop."""
        (x,) = leaves(x)
        z = value.detach()
        for _ in range(3):
            z = (1 - damping) * z + damping * cell(z, w, x)
        return (torch.autograd.grad(z, x, U)[0] * direction).sum()

    h, at_w, at_x = 1e-5, normal(4, 4, seed=5), normal(3, 4, seed=6)
    along_w = (slope(W + h * at_w, X) - slope(W - h * at_w, X)) / (2 * h)
    along_x = (slope(W, X + h * at_x) - slope(W, X - h * at_x)) / (2 * h)
    # Central differences: h^2 = 1e-10, and rounding 1e-16 / h = 1e-11.
    torch.testing.assert_close((by_w * at_w).sum(), along_w, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close((by_xx * at_x).sum(), along_x, rtol=1e-7, atol=1e-8)


# Rows without an answer, and settings


@pytest.mark.parametrize("gradient", [Phantom(), Phantom(unrolled=True), JacobianFree()])
def test_a_row_that_is_not_finite_passes_zero_and_leaves_the_others(gradient):
    # Row 1 ends where z passes 10.
    f = lambda z, x, end: 0.5 * z + x + 1e-3 * torch.sqrt(end - z)  # noqa: E731
    end = torch.tensor([[100.0], [10.0], [100.0]], dtype=F64)
    x = torch.tensor([[1.0, 0.5], [8.0, 9.0], [-0.5, 2.0]], dtype=F64)

    def run(rows):
        (leaf,) = leaves(x[rows])
        options = {"solver": SOLVER, "gradient": gradient, "on_failure": "ignore"}
        solution = fixed_point(f, torch.zeros_like(leaf), leaf, end[rows], **options)
        solution.value.sum().backward()
        return solution, leaf.grad

    solution, by_x = run([0, 1, 2])
    assert solution.status.tolist() == [0, Status.NONFINITE, 0]
    assert torch.equal(by_x[1], torch.zeros(2, dtype=F64))
    torch.testing.assert_close(by_x[[0, 2]], run([0, 2])[1], rtol=1e-10, atol=0)


@pytest.mark.parametrize("steps", [0, -3])
def test_fewer_than_one_step_is_refused(steps):
    with pytest.raises(ValueError, match=f"steps must be at least 1, got {steps}"):
        Phantom(steps=steps)


@pytest.mark.parametrize("damping", [0.0, -0.5, 1.5, float("nan")])
def test_a_damping_outside_its_domain_is_refused(damping):
    with pytest.raises(ValueError, match=r"damping must be in \(0, 1\], got"):
        Phantom(damping=damping)
