"""Solves under transforms of torch.func, in forward mode, and of batches of cotangents.

Gold: finite differences (gradcheck), fixed points with a closed form, and torch's own derivatives
of enough steps of the iteration.
"""

import threading

import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from torch import func, nn

from deqlab import DEQ, Anderson, ConvergenceError, Implicit, JacobianFree, Phantom, fixed_point
from deqlab.gradients import GMRES, Loops, Unrolled
from deqlab.nn import DenseCell, SpectralNorm
from deqlab.solvers import PeacemanRachford, Picard
from tests.problems import F64, matrix, normal

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning",  # forward mode of torch
)

SOLVER = Anderson(rtol=1e-13, atol=0.0, max_steps=500)
W, X, T = matrix(3, norm=0.5, seed=0), normal(2, 3, seed=1), normal(2, 3, seed=2)
MANY = torch.stack([X, 2 * X, X - 1])


def solve(w, x, **options):
    """The fixed point of tanh(z w' + x), whose x and w a closure holds."""
    z0 = torch.zeros(2, 3, dtype=F64)
    return fixed_point(lambda z: torch.tanh(z @ w.T + x), z0, solver=SOLVER, **options).value


def iterated(w, x):
    """The same by so many steps that 0.5^100 is below rounding: what torch differentiates."""
    z = torch.zeros(2, 3, dtype=F64)
    for _ in range(100):
        z = torch.tanh(z @ w.T + x)
    return z


def close(ours, gold, tolerance=1e-10):
    torch.testing.assert_close(ours, gold, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_gradcheck_finds_tangents_and_batches_right():
    w, x = W.clone().requires_grad_(), X.clone().requires_grad_()
    options = {"fast_mode": True, "check_batched_grad": True}
    assert torch.autograd.gradcheck(
        solve, (w, x), check_forward_ad=True, check_batched_forward_grad=True, **options
    )
    assert torch.autograd.gradgradcheck(solve, (w, x), check_fwd_over_rev=True, **options)


NESTED = {
    "hessian": lambda s: func.hessian(lambda w: s(w, X).pow(3).sum())(W),
    "reverse over reverse": lambda s: func.jacrev(func.jacrev(lambda w: s(w, X)[0, 0]))(W),
    "reverse over forward": lambda s: func.jacrev(func.jacfwd(lambda x: s(W, x)[0, 0]))(X),
    "forward over forward": lambda s: func.jacfwd(func.jacfwd(lambda x: s(W, x)[0, 0]))(X),
    "vmap of grad": lambda s: func.vmap(func.grad(lambda x: s(W, x).pow(3).sum()))(MANY),
    "vmap of vmap": lambda s: func.vmap(
        lambda w: func.vmap(lambda x: s(w, x), in_dims=1, out_dims=2)(MANY.transpose(0, 1))
    )(torch.stack([W, -W])),
    "grad of vmap": lambda s: func.grad(lambda w: func.vmap(lambda x: s(w, x))(MANY).pow(3).sum())(
        W
    ),
    "vmap of jacfwd of vmap of jacrev": lambda s: func.vmap(
        func.jacfwd(lambda w: func.vmap(func.jacrev(lambda x: s(w, x)))(MANY))
    )(torch.stack([W, -W])),
    "a pullback after its transform": lambda s: func.vmap(func.vjp(lambda w: s(w, X), W)[1])(MANY),
    "grad of a pullback": lambda s: (lambda pull: func.grad(lambda u: pull(u)[0].pow(2).sum())(T))(
        func.vjp(lambda w: s(w, X), W)[1]
    ),
}


SLOW = {"vmap of jacfwd of vmap of jacrev", "reverse over forward"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NESTED],
)
def test_nested_transforms_are_those_of_the_iteration(name):
    close(NESTED[name](solve), NESTED[name](iterated))


@pytest.mark.parametrize("outer", [func.grad, func.jacfwd])
@pytest.mark.parametrize("inner", [func.grad, func.jacfwd])
def test_third_derivatives_are_those_of_the_closed_form(inner, outer):
    # z = a z^2 + x has the stable root (1 - sqrt(1 - 4 a x)) / 2a.
    closed = lambda x: (1 - torch.sqrt(1 - 1.2 * x)) / 0.6  # noqa: E731
    ours = lambda x: fixed_point(  # noqa: E731
        lambda z: 0.3 * z**2 + x, torch.zeros(1, 1, dtype=F64), solver=SOLVER
    ).value.squeeze()
    x = torch.tensor(0.4, dtype=F64)
    close(outer(inner(func.grad(ours)))(x), outer(inner(func.grad(closed)))(x), 1e-9)


def test_no_grad_around_a_transform_changes_nothing():
    # The tape of the solve is no business of who calls: without one, M would be I.
    with torch.no_grad():
        close(NESTED["vmap of grad"](solve), NESTED["vmap of grad"](iterated))
        close(
            func.jvp(lambda x: solve(W, x), (X,), (T,)),
            func.jvp(lambda x: iterated(W, x), (X,), (T,)),
        )


@pytest.mark.parametrize(
    "inner",
    [func.grad, pytest.param(func.hessian, marks=pytest.mark.slow)],
    ids=["grad", "hessian"],
)
def test_an_outer_backward_pass_goes_through_a_transform(inner):
    # As physics-informed networks train: the loss has derivatives by x, and is differentiated by w.
    w = W.clone().requires_grad_()
    loss = lambda s: func.vmap(inner(lambda x: s(w, x).pow(2).sum()))(MANY).pow(2).sum()  # noqa: E731
    close(torch.autograd.grad(loss(solve), w), torch.autograd.grad(loss(iterated), w), 1e-9)
    (by_w,) = torch.autograd.grad(loss(solve), w, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"second derivative.*one transform more instead"):
        by_w.sum().backward()
    penalty = lambda x: torch.autograd.grad(solve(W, x).sum(), x, create_graph=True)[0].sum()  # noqa: E731
    with pytest.raises(NotImplementedError, match=r"second derivative.*one transform more instead"):
        func.grad(penalty)(X)


def test_forward_mode_over_a_backward_pass_and_the_other_way_round():
    def products(s):
        x = X.clone().requires_grad_()
        with forward_mode.dual_level():
            dual = s(W, forward_mode.make_dual(x, T)).pow(3).sum()
            slope = forward_mode.unpack_dual(dual).tangent
            return slope, *torch.autograd.grad(slope, x)

    close(products(solve), products(iterated))


def test_vmap_solves_a_batch_of_rows_at_once():
    told, calls = [], []

    def f(z, x):
        calls.append(1)
        return 0.5 * torch.tanh(z) + x

    def solution(x):
        found = fixed_point(f, torch.zeros_like(x), x, solver=SOLVER)
        told.append(found.evaluations)
        return found.value, found.status, found.trace, found.rate

    values, status, trace, rate = func.vmap(solution)(MANY)
    assert len(calls) <= told[0] + 1 < 20  # not once for each problem
    assert status.shape == rate.shape == (3, 2)
    assert trace.shape[::2] == (3, 2)
    flat = fixed_point(f, torch.zeros(6, 3, dtype=F64), MANY.flatten(0, 1), solver=SOLVER)
    close(values.flatten(0, 1), flat.value, 0)
    assert torch.equal(rate.flatten(), flat.rate)


def test_a_row_that_fails_spoils_no_other_problem():
    x = torch.tensor([0.3, -1.0, 0.2], dtype=F64)  # z = sqrt(z) + x is nan below -1/4 or so
    f = lambda z, x: 0.5 * torch.sqrt(z) + x  # noqa: E731
    one = lambda x: fixed_point(  # noqa: E731
        f, torch.ones(1, 1, dtype=F64), x, solver=SOLVER, on_failure="ignore"
    )
    status = func.vmap(lambda x: one(x).status)(x)
    assert status.flatten().tolist() == [0, 4, 0]
    slopes = func.vmap(func.grad(lambda x: one(x).value.sum()))(x)
    z = one(x[0]).value.squeeze()
    close(slopes[0], 1 / (1 - 0.25 / torch.sqrt(z)))
    with pytest.raises(ConvergenceError, match="1 of 3 samples"):
        func.vmap(lambda x: fixed_point(f, torch.ones(1, 1, dtype=F64), x, solver=SOLVER).value)(x)


@pytest.mark.parametrize("constraint", [None, SpectralNorm()])
def test_gradients_of_each_sample_are_those_of_each_alone(constraint):
    cell = DenseCell(3, 4, activation=torch.tanh, constraint=constraint)
    deq = DEQ(cell.double(), solver=SOLVER, on_failure="raise").eval()
    weights = {name: p.detach() for name, p in deq.named_parameters()}
    loss = lambda p, x: func.functional_call(deq, p, (x,)).pow(2).sum()  # noqa: E731
    each = func.vmap(func.grad(loss), in_dims=(None, 0))(weights, MANY)
    for i, x in enumerate(MANY):
        alone = torch.autograd.grad(deq(x).pow(2).sum(), deq.parameters())
        close([each[name][i] for name, _ in deq.named_parameters()], list(alone))


def test_a_stack_of_models_is_one_solve():
    deqs = [DEQ(DenseCell(3, 4, activation=torch.tanh).double(), solver=SOLVER) for _ in range(3)]
    state = func.stack_module_state(deqs)
    together = func.vmap(lambda p, b: func.functional_call(deqs[0], (p, b), (X,)))(*state)
    assert deqs[0].last.status.shape == (6,)
    close(together, torch.stack([deq(X) for deq in deqs]))


def test_coupled_states_and_containers_and_aux():
    a = matrix(2, norm=0.6, seed=3)

    def coupled(x):
        f = lambda z: ({"z": torch.tanh(a @ z["z"] @ W.T + x)}, z["z"].sum())  # noqa: E731
        z0 = {"z": torch.zeros(2, 3, dtype=F64)}
        found = fixed_point(f, z0, solver=SOLVER, batched=False, has_aux=True)
        return found.value["z"], found.aux

    def gold(x):
        z = torch.zeros(2, 3, dtype=F64)
        for _ in range(100):
            z = torch.tanh(a @ z @ W.T + x)
        return z, z.sum()

    for transform in (func.jacrev, func.jacfwd):
        close(func.vmap(transform(coupled))(MANY), func.vmap(transform(gold))(MANY))


INEXACT = [JacobianFree(), Phantom(steps=3, damping=0.8), Unrolled(steps=2), Loops(steps=3)]
INEXACT += [Phantom(steps=3, damping=0.8, unrolled=True), Loops(steps=4, differentiated=2)]


@pytest.mark.parametrize("gradient", INEXACT, ids=str)
def test_an_inexact_gradient_is_the_same_in_each_mode(gradient):
    def s(w, x):
        f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
        return fixed_point(f, 0.1 * x, solver=SOLVER, gradient=gradient).value

    w, x = W.clone().requires_grad_(), X.clone().requires_grad_()
    own = torch.autograd.grad(s(w, x), (w, x), T)
    close(func.vjp(s, W, X)[1](T), own)
    _, along = func.jvp(s, (W, X), (W.T, T))
    close((along * T).sum(), (own[0] * W.T).sum() + (own[1] * T).sum())


@pytest.mark.parametrize("transform", [func.hessian, lambda f: func.jacfwd(func.jacfwd(f))])
def test_second_derivatives_of_an_inexact_gradient_are_refused(transform):
    with pytest.raises(NotImplementedError, match=r"inexact gradient.*Implicit\(\) instead"):
        transform(lambda x: solve(W, x, gradient=JacobianFree()).sum())(X)


def test_a_tangent_is_held_to_the_tolerance():
    found = []

    def value(x, gradient):
        f = lambda z: torch.tanh(z @ W.T + x)  # noqa: E731
        found.append(fixed_point(f, torch.zeros_like(X), solver=SOLVER, gradient=gradient))
        return found[-1].value

    func.jvp(lambda x: value(x, Implicit()), (X,), (T,))
    assert found[-1].adjoint[0].converged.all()
    assert (found[-1].adjoint[0].residual <= 1e-13 * T.norm(dim=1)).all()
    with pytest.raises(ConvergenceError, match=r"adjoint of fixed_point: . of 2 samples missed"):
        func.jvp(lambda x: value(x, Implicit(solver=GMRES(max_products=1))), (X,), (T,))


@pytest.fixture
def another_thread():
    """A thread that does nothing, beside which random states are compared at each evaluation."""
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait)
    thread.start()
    yield
    ends.set()
    thread.join()


@pytest.mark.usefixtures("another_thread")
@pytest.mark.parametrize("flag", ["same", "different"])
def test_random_numbers_of_f_follow_the_flag_of_vmap(flag):
    drop = nn.Dropout(0.5)

    def f(x):
        map_ = lambda z: 0.5 * drop(torch.tanh(z)) + x  # noqa: E731
        return fixed_point(map_, torch.zeros_like(x), solver=SOLVER).value

    ones = torch.ones(2, 40, 3, dtype=F64)
    first, second = func.vmap(f, randomness=flag)(ones)
    assert torch.equal(first, second) is (flag == "same")
    kept = first > 1.5  # one mask a solve: z = 1 or z = tanh(z) + 1
    close(first, torch.where(kept, first.max(), 1.0))
    slopes = func.vmap(func.jacrev(lambda x: f(x).sum()), randomness=flag)(ones)
    close(slopes, torch.where(slopes > 1.04, slopes.max(), 1.0))
    with pytest.raises(RuntimeError, match="randomness"):
        func.vmap(f)(ones)


def test_batches_of_cotangents_by_either_vmap():
    w = W.clone().requires_grad_()
    value, gold = solve(w, X), iterated(w, X)
    both = lambda out: func.vmap(  # noqa: E731
        lambda u: torch.autograd.grad(out, w, u, retain_graph=True)[0]
    )(MANY)
    close(both(value), both(gold))
    hessian = lambda s: torch.autograd.functional.hessian(  # noqa: E731
        lambda w: s(w, X).pow(3).sum(), W, vectorize=True
    )
    close(hessian(solve), hessian(iterated))
    with pytest.raises(NotImplementedError, match="began after the solve"):
        func.grad(lambda u: torch.autograd.grad(value, w, u, retain_graph=True)[0].sum())(T)
    with forward_mode.dual_level(), pytest.raises(NotImplementedError, match="began after the"):
        torch.autograd.grad(value, w, forward_mode.make_dual(T, X))


def test_what_cannot_follow_says_so():
    cell = DenseCell(3, 3, activation=torch.tanh).double()
    with pytest.raises(NotImplementedError, match=r"PeacemanRachford.*use another solver instead"):
        func.grad(lambda x: DEQ(cell, solver=PeacemanRachford())(x).sum())(X)
    with pytest.raises(NotImplementedError, match="functionalize"):
        func.functionalize(lambda x: solve(W, x))(X)
    with pytest.raises(NotImplementedError, match=r"Unrolled.*steps of the solver"):
        func.grad(lambda x: DEQ(cell, solver=Picard(), gradient=Unrolled())(x).sum())(X)

    def writes(x):
        kept = 1 * x
        f = lambda z: 0.5 * z + kept.mul_(0.9)  # noqa: E731
        return fixed_point(f, torch.zeros_like(x)).value.sum()

    with pytest.raises(ValueError, match="f writes to"):
        func.grad(writes)(X)
