"""Splitting methods on z = sigma(W z + q): what monotonicity promises, whatever the size of W."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import Anderson, Picard, Status, Unrolled, fixed_point
from deqlab.maps.matrix_map import Bound
from deqlab.solvers.broyden import Broyden
from deqlab.solvers.linear_operator import contracting_alpha, resolvent, safe_alpha
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.monotone_map import MonotoneMap
from deqlab.solvers.proximal import Relu, Sigmoid, Tanh, proximal
from deqlab.solvers.splitting import DouglasRachford, ForwardBackward, PeacemanRachford
from tests.problems import F64, assert_verdicts_hold, normal

ACTIVATIONS = [Relu(), Tanh(), Sigmoid()]
SOLVERS = [
    pytest.param(PeacemanRachford(), id="Peaceman-Rachford"),
    pytest.param(PeacemanRachford(alpha=0.3), id="Peaceman-Rachford-0.3"),
    pytest.param(DouglasRachford(), id="Douglas-Rachford"),
    pytest.param(DouglasRachford(alpha=2.0), id="Douglas-Rachford-2"),
    pytest.param(ForwardBackward(), id="Forward-Backward"),
]
every_solver = pytest.mark.parametrize("solver", SOLVERS)
every_activation = pytest.mark.parametrize(
    "activation", ACTIVATIONS, ids=lambda a: type(a).__name__
)
hard_too = pytest.mark.parametrize(
    ("margin", "norm"), [(1.0, 1.0), pytest.param(0.5, 2.0, marks=pytest.mark.slow)]
)


def monotone(dim, *, margin, norm, seed):
    """W with I - W >= margin I and about this norm: (1 - m) I - A'A + B - B'."""
    a, b = normal(dim, dim, seed=seed), normal(dim, dim, seed=seed + 1)
    w = -a.T @ a + b - b.T
    return (1 - margin) * torch.eye(dim, dtype=F64) + norm * w / torch.linalg.matrix_norm(w, ord=2)


def solve(solver, w, q, activation=Relu(), z0=None, **changes):  # noqa: B008
    changes = {"rtol": 1e-10, "max_steps": 4000, "patience": 4000} | changes
    return fixed_point(
        MonotoneMap(activation),
        torch.zeros_like(q) if z0 is None else z0,
        w,
        q,
        solver=replace(solver, **changes),
        on_failure="ignore",
    )


def active_sets(w, q):
    """z = relu(W z + q) of each row, by trying every set of positive entries."""
    dim, found = len(w), []
    for row in q:
        for signs in product([False, True], repeat=dim):
            on = torch.tensor(signs)
            z = torch.zeros(dim, dtype=F64)
            z[on] = torch.linalg.solve(torch.eye(int(on.sum()), dtype=F64) - w[on][:, on], row[on])
            if (z[on] >= 0).all() and ((w @ z + row)[~on] <= 0).all():
                found.append(z)
                break
    return torch.stack(found)


@every_solver
@pytest.mark.parametrize("dim", [1, 3, 6])
def test_relu_is_solved_as_the_linear_complementarity_problem_that_it_is(solver, dim):
    w, q = monotone(dim, margin=0.5, norm=3.0, seed=0), normal(4, dim, seed=2)
    solution = solve(solver, w, q)
    # |z - z*| <= (1 + L) / m |f(z) - z|.
    torch.testing.assert_close(solution.value, active_sets(w, q), rtol=0, atol=1e-8)


@every_activation
@pytest.mark.parametrize(
    "solver", [PeacemanRachford(), DouglasRachford(), DouglasRachford(alpha=0.2)]
)
def test_a_weight_of_norm_ten_is_solved_where_picard_diverges(solver, activation):
    w, q = monotone(12, margin=0.2, norm=10.0, seed=3), 3 * normal(5, 12, seed=5)
    assert torch.linalg.matrix_norm(w, ord=2) > 9
    picard = solve(Picard(), w, q, activation, max_steps=200)
    assert not picard.converged.any()
    solution = solve(solver, w, q, activation)
    assert solution.converged.all()
    gold = solve(Broyden(), w, q, activation)
    assert gold.converged.all()
    torch.testing.assert_close(solution.value, gold.value, rtol=0, atol=1e-7)


@every_activation
@given(
    seed=st.integers(0, 1000),
    dim=st.integers(1, 6),
    margin=st.floats(0.5, 1.0),
    norm=st.floats(0.0, 2.0),
)
def test_the_methods_agree_and_the_error_is_within_its_bound(activation, seed, dim, margin, norm):
    w, q = monotone(dim, margin=margin, norm=norm, seed=seed), normal(3, dim, seed=seed + 2)
    exact = solve(PeacemanRachford(), w, q, activation, rtol=1e-13).value
    length = torch.linalg.matrix_norm(torch.eye(dim, dtype=F64) - w, ord=2)
    for param in SOLVERS:
        solution = solve(param.values[0], w, q, activation, rtol=1e-5)
        assert solution.converged.all()
        # F = (I - W) z - q is m-strongly monotone and L-Lipschitz: |z - z*| <= (1 + L) / m |r|.
        error = (solution.value - exact).norm(dim=1)
        assert (error <= (1 + length) / margin * solution.residual + 1e-10).all()


@every_solver
@every_activation
def test_a_fixed_point_stays(solver, activation):
    w, q = monotone(6, margin=0.3, norm=2.0, seed=6), normal(3, 6, seed=8)
    z = solve(PeacemanRachford(), w, q, activation, rtol=1e-14).value
    f = MonotoneMap(activation)
    at_once = solve(solver, w, q, activation, z0=z)
    assert at_once.evaluations == 1
    memory, point = solver.init(z), z
    for _ in range(3):  # the loop would not ask
        iterate = Iterate(point, f(point, w, q), np.ones(3, dtype=bool))
        point, memory = solver.step(CountedMap(Bound(f, (w, q))), iterate, memory)
    torch.testing.assert_close(point, z, rtol=0, atol=1e-12)


def test_peaceman_rachford_contracts_by_what_its_resolvent_reflects():
    # |u_next - v_next| <= |2 (I + alpha A)^-1 - I| |u - v|: the reflected prox does not expand.
    w, q = monotone(8, margin=0.4, norm=2.0, seed=9), normal(1, 8, seed=11)
    solver, f = PeacemanRachford(), MonotoneMap(Tanh())
    rate = torch.linalg.matrix_norm(2 * resolvent(w, 1.0) - torch.eye(8, dtype=F64), ord=2)
    assert rate < 1
    mapped, running = Bound(f, (w, q)), np.ones(1, dtype=bool)

    def us(z, steps=12):
        memory, found = solver.init(z), []
        for _ in range(steps):
            z, memory = solver.step(CountedMap(mapped), Iterate(z, mapped(z), running), memory)
            found.append(memory.u)
        return torch.cat(found)

    gaps = (us(torch.zeros(1, 8, dtype=F64)) - us(normal(1, 8, seed=12))).norm(dim=1)
    assert (gaps[1:] <= rate * gaps[:-1] * (1 + 1e-9)).all()


def test_douglas_rachford_solves_what_is_monotone_without_margin():
    # I - W is a rotation: m = 0, and Peaceman-Rachford goes round for ever.
    w = torch.eye(2, dtype=F64) - torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=F64)
    target = torch.tensor([[2.0, 0.5]], dtype=F64)  # where relu does nothing
    q = target - target @ w.T
    solution = solve(DouglasRachford(), w, q, rtol=1e-9)
    assert solution.converged.all()
    torch.testing.assert_close(solution.value, target, rtol=0, atol=1e-6)
    assert not solve(PeacemanRachford(), w, q, rtol=1e-9, max_steps=300).converged.any()
    with pytest.raises(ValueError, match=r"I - W >= m I with m > 0, got m = 0"):
        solve(ForwardBackward(), w, q)


def test_forward_backward_converges_below_its_bound_and_not_far_beyond():
    w, q = monotone(6, margin=0.5, norm=3.0, seed=13), 1 + normal(3, 6, seed=15).abs()
    a = torch.eye(6, dtype=F64) - w
    bound = 2 * torch.linalg.eigvalsh((a + a.T) / 2)[0] / torch.linalg.matrix_norm(a, ord=2) ** 2
    assert safe_alpha(w) == pytest.approx(bound.item() / 2, rel=1e-9)
    assert solve(ForwardBackward(alpha=0.95 * bound.item()), w, q, Tanh()).converged.all()
    far = solve(ForwardBackward(alpha=40 * bound.item()), w, q, max_steps=300)
    assert not far.converged.any()


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_default_step_of_forward_backward_contracts_most(symmetric):
    a = torch.eye(6, dtype=F64) - monotone(6, margin=0.3, norm=2.0, seed=16)
    a = (a + a.T) / 2 if symmetric else a
    w, eye = torch.eye(6, dtype=F64) - a, torch.eye(6, dtype=F64)
    norm = lambda alpha: torch.linalg.matrix_norm(eye - alpha * a, ord=2).item()  # noqa: E731
    alpha = contracting_alpha(w)
    assert alpha >= safe_alpha(w)
    least = min(map(norm, torch.linspace(0.0, 2.0, 4001).tolist()))
    assert norm(alpha) <= least + 1e-2 * (1 - least)
    if symmetric:  # 2 / (m + L)
        values = torch.linalg.eigvalsh(a)
        assert alpha == pytest.approx(2 / (values[0] + values[-1]).item(), rel=0.01)


def test_forward_backward_ends_in_half_the_steps_of_its_worst_case():
    # A weight as `nn.MonotoneCell` makes it: not far from symmetric.
    free = normal(16, 16, seed=17) / 8
    w = 0.5 * torch.eye(16, dtype=F64) - free.T @ free + free - free.T
    q = normal(4, 16, seed=18)
    ours = solve(ForwardBackward(), w, q, max_steps=300)
    careful = solve(ForwardBackward(alpha=safe_alpha(w)), w, q, max_steps=300)
    assert ours.converged.all()
    assert 2 * ours.evaluations <= careful.evaluations + 10


def test_forward_backward_refuses_a_weight_that_is_not_monotone():
    w = torch.diag(torch.tensor([0.5, 1.25], dtype=F64))
    with pytest.raises(ValueError, match=r"needs I - W >= m I with m > 0, got m = -0.25: bound W"):
        solve(ForwardBackward(), w, torch.ones(1, 2, dtype=F64))


def cosine(z):
    return z.cos()


@every_solver
def test_a_plain_function_is_refused_with_a_way_out(solver):
    name = type(solver).__name__
    sentence = (
        rf"{name} splits z = sigma\(W z \+ q\): pass a MonotoneMap and \(W, q\), or a cell that"
    )
    with pytest.raises(TypeError, match=sentence + r".*, got cosine; Anderson\(\) takes any map"):
        fixed_point(cosine, torch.ones(2, 3), solver=solver)
    with pytest.raises(TypeError, match=sentence):
        solver.solve(cosine, torch.ones(2, 3))


@every_solver
def test_a_state_that_is_not_one_matrix_is_refused(solver):
    w, q = monotone(3, margin=0.5, norm=1.0, seed=36), normal(2, 3, seed=38)
    f = lambda z: (MonotoneMap(Relu())(z[0], w, q),)  # noqa: E731
    with pytest.raises(TypeError, match=r"\(nn.MonotoneCell, nn.MonotoneConvCell\), got <lambda>"):
        fixed_point(f, (torch.zeros_like(q),), solver=solver)


@every_solver
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_verdict_is_what_anyone_finds(solver, dtype):
    w, q = monotone(6, margin=0.5, norm=2.0, seed=16).to(dtype), normal(4, 6, seed=18).to(dtype)
    for max_steps in (3, 30, 500):
        changes = {"rtol": 1e-5, "max_steps": max_steps, "patience": 1000}
        solution = solve(solver, w, q, **changes)
        assert solution.value.dtype == dtype
        f = lambda z: torch.relu(torch.addmm(q, z, w.T))  # noqa: E731
        assert_verdicts_hold(solution, f, torch.zeros_like(q), replace(solver, **changes))
    assert solution.converged.all()


@every_solver
@hard_too
def test_rows_are_solved_as_if_alone(solver, margin, norm):
    w, q = monotone(5, margin=margin, norm=norm, seed=19), normal(6, 5, seed=21)
    q = q * torch.tensor([[0.0], [1.0], [1e-3], [1e3], [3.0], [0.1]], dtype=F64)
    together = solve(solver, w, q, Tanh())
    assert len(set(together.steps.tolist())) > 2
    for i in range(6):
        alone = solve(solver, w, q[i : i + 1], Tanh())
        assert alone.steps[0] == together.steps[i]
        torch.testing.assert_close(alone.value[0], together.value[i], rtol=0, atol=1e-9)


@every_solver
@hard_too
def test_rows_that_leave_change_nothing_for_those_that_stay(solver, margin, norm):
    w, q = monotone(5, margin=margin, norm=norm, seed=22), normal(8, 5, seed=24)
    q[:5] *= 0  # solved at once
    options = {"solver": replace(solver, rtol=1e-9, max_steps=4000, patience=4000)}
    f, z0 = MonotoneMap(Relu()), torch.zeros_like(q)
    stay = fixed_point(f, z0, w, q, **options)
    leave = fixed_point(f, z0, w, q, rows_independent=(False, True), **options)
    assert leave.steps.tolist() == stay.steps.tolist()
    torch.testing.assert_close(leave.value, stay.value, rtol=0, atol=1e-12)


@every_solver
def test_a_row_of_nan_is_left_at_its_start_and_spoils_no_other(solver):
    w, q = monotone(4, margin=0.5, norm=2.0, seed=25), normal(3, 4, seed=27)
    reference = solve(solver, w, q)
    q[1] = torch.nan
    solution = solve(solver, w, q)
    assert solution.status.tolist() == [Status.CONVERGED, Status.NONFINITE, Status.CONVERGED]
    assert torch.equal(solution.value[1], torch.zeros(4, dtype=F64))
    for row in (0, 2):
        assert solution.steps[row] == reference.steps[row]
        assert torch.equal(solution.value[row], reference.value[row])


@every_solver
@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (1, 1), (2, 0)])
def test_any_batch_size_and_width_is_solved(solver, shape):
    w, q = 0.25 * torch.eye(shape[1], dtype=F64), torch.ones(shape, dtype=F64)
    solution = solve(solver, w, q)
    torch.testing.assert_close(solution.value, 4 / 3 * q, rtol=0, atol=1e-8)
    assert solution.converged.all()
    assert len(solution.converged) == shape[0]


@every_solver
def test_a_solve_in_float32_reaches_float32(solver):
    w, q = monotone(16, margin=0.5, norm=2.0, seed=28), normal(4, 16, seed=30)
    gold = solve(PeacemanRachford(), w, q, Tanh()).value
    solution = solve(solver, w.float(), q.float(), Tanh(), rtol=2e-6)
    assert solution.converged.all()
    torch.testing.assert_close(solution.value.double(), gold, rtol=0, atol=1e-4)


@every_solver
def test_the_tape_of_the_steps_gives_the_gradient(solver):
    w, q = monotone(3, margin=0.6, norm=1.5, seed=31), normal(2, 3, seed=33)
    gradients = []
    for options in (
        {"solver": replace(solver, rtol=1e-13, max_steps=4000), "gradient": Unrolled()},
        {"solver": Anderson(rtol=1e-13)},
    ):
        leaves = [w.clone().requires_grad_(), q.clone().requires_grad_()]
        z = fixed_point(MonotoneMap(Tanh()), torch.zeros_like(q), *leaves, **options).value
        gradients.append(torch.autograd.grad(z.square().sum(), leaves))
    for unrolled, implicit in zip(*gradients, strict=True):
        torch.testing.assert_close(unrolled, implicit, rtol=1e-7, atol=1e-7)


@every_activation
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 0.7, 1.0, 1.5, 10.0, 1e3])
@pytest.mark.parametrize(("dtype", "exact"), [(torch.float32, 2e-6), (F64, 4e-15)])
def test_a_prox_solves_its_equation(activation, alpha, dtype, exact):
    # z = prox_alpha(u) means z = sigma(t), where u = z + alpha (t - z): t from u and z.
    u = torch.cat([torch.linspace(-30, 30, 601), torch.tensor([-1e-6, 0.0, 1e-6])]).to(dtype)
    z = activation.prox(u, alpha)
    assert z.dtype == dtype
    t = z.double() + (u.double() - z.double()) / alpha
    # Rounding of z moves t by 1/alpha of it, and sigma(t) by at most that.
    torch.testing.assert_close(
        activation(t), z.double(), rtol=0, atol=exact * max(1.0, 1 / alpha) * 2
    )


@every_activation
def test_a_prox_at_one_is_the_activation_and_never_expands(activation):
    u, v = normal(500, seed=34), 5 * normal(500, seed=35)
    assert torch.equal(activation.prox(u, 1.0), activation(u))
    for alpha in (0.05, 0.5, 3.0):
        gap = (activation.prox(u, alpha) - activation.prox(v, alpha)).abs()
        assert (gap <= (u - v).abs() + 1e-12).all()


def test_a_prox_of_nan_is_nan():
    u = torch.tensor([torch.nan, 1.0], dtype=F64)
    assert Tanh().prox(u, 0.5).isnan().tolist() == [True, False]


def test_functions_of_torch_become_their_proximal_operators():
    assert proximal(torch.relu) == proximal(torch.nn.functional.relu) == Relu()
    assert proximal(torch.tanh) == Tanh()
    assert proximal(torch.sigmoid) == Sigmoid()
    assert proximal(Tanh()) is not None
    with pytest.raises(
        TypeError, match=r"no proximal operator is known for .*sin.*pass torch.relu"
    ):
        proximal(torch.sin)


@pytest.mark.parametrize("method", [PeacemanRachford, DouglasRachford, ForwardBackward])
@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_an_alpha_outside_its_domain_is_refused(method, alpha):
    with pytest.raises(ValueError, match=f"alpha must be more than 0, and finite, got {alpha}"):
        method(alpha=alpha)
