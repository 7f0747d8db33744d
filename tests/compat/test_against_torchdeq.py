"""The same calls of torchdeq 0.1.0 and of deqlab, and dense algebra that says who is right."""

import pytest
import torch

from deqlab.compat.torchdeq import get_deq
from deqlab.errors import ConvergenceWarning
from deqlab.solution import Status
from tests.compat.gold import Tanh, torchdeq, worst

SOLVERS = ("fixed_point_iter", "anderson", "broyden")
TIGHT = {"f_tol": 1e-11, "f_max_iter": 120, "b_tol": 1e-11, "b_max_iter": 120}


@pytest.fixture
def f():
    return Tanh.draw()


def both(options, f, z0=None, **call):
    """Return what torchdeq and deqlab return, in train mode."""
    z0 = f.z0 if z0 is None else z0
    there = torchdeq.get_deq(**options).train()(f, z0, **call)
    here = get_deq(**options, on_failure="ignore").train()(f, z0, **call)
    return there, here


@pytest.mark.parametrize(
    ("f_solver", "b_solver", "mode"),
    [
        ("fixed_point_iter", "fixed_point_iter", "abs"),
        ("fixed_point_iter", "broyden", "rel"),
        ("anderson", "anderson", "rel"),
        ("broyden", "broyden", "abs"),
    ],
)
def test_values_and_exact_gradients_agree(f, f_solver, b_solver, mode):
    options = TIGHT | {"ift": True, "f_solver": f_solver, "b_solver": b_solver}
    options |= {"f_stop_mode": mode, "b_stop_mode": "rel"}
    for (value,), info in both(options, f):
        torch.testing.assert_close(value, f.equilibrium(), rtol=0, atol=1e-9)
        assert worst(f.gradient(value), f.exact_gradient()) < 1e-8
        assert info[f"{mode}_lowest"].max() < 1e-11


@pytest.mark.parametrize(("grad", "tau"), [(1, 1.0), (4, 0.5)])
@pytest.mark.parametrize("f_solver", SOLVERS)
def test_values_and_phantom_gradients_agree(f, f_solver, grad, tau):
    options = TIGHT | {"f_solver": f_solver, "grad": grad, "tau": tau}
    for (value,), _ in both(options, f):
        torch.testing.assert_close(value, f.equilibrium(), rtol=0, atol=1e-9)
        assert worst(f.gradient(value), f.phantom_gradient(grad, tau)) < 1e-8


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_simple_iterations_are_the_same_numbers(f, tau, training):
    options = {"f_solver": "simple_fixed_point_iter", "f_max_iter": 3, "grad": 2, "tau": tau}
    there = torchdeq.get_deq(**options).train(training)(f, f.z0, solver_kwargs={"tau": tau})[0][0]
    here = get_deq(**options).train(training)(f, f.z0, solver_kwargs={"tau": tau})[0][0]
    torch.testing.assert_close(here, there, rtol=1e-14, atol=0)
    assert here.requires_grad == there.requires_grad == training
    if training:
        assert worst(f.gradient(here), f.gradient(there)) < 1e-13


# Ten iterations, none of which is within a tolerance of 0: then each state is that of a step.
STATES = {"f_tol": 0.0, "f_max_iter": 10, "tau": 0.5, "grad": 2}


@pytest.mark.parametrize("core", ["indexing", "sliced"])
@pytest.mark.parametrize(
    "states",
    [
        {"n_states": 3},
        {"indexing": [2, 5]},
        {"indexing": [2, 5], "grad": [1, 2, 3]},
        {"n_states": 2, "grad": 4, "sup_gap": 2},
        {"n_states": 2, "grad": 4, "sup_loc": [1, 3]},
    ],
    ids=str,
)
def test_states_on_the_way_are_the_same_numbers_with_the_same_gradients(f, core, states):
    options = STATES | {"core": core} | states
    (there, _), (here, _) = both(options, f)
    assert len(here) == len(there)
    for k, (one, other) in enumerate(zip(here, there, strict=True)):
        if k == len(there) - 1 and "sup_gap" not in states and "sup_loc" not in states:
            break  # the equilibrium, which torchdeq has stepped on from
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
        assert worst(f.gradient(one), f.gradient(other)) < 1e-12


def test_a_list_of_states_goes_in_and_comes_out(f):
    def coupled(a, b):
        return [torch.tanh(b @ f.weight.T + f.x), 0.5 * a[:, :2] + f.x[:, :2]]

    z0 = [f.z0, f.z0[:, :2]]

    def embedded(a, b):
        return coupled(a, torch.cat([b, f.z0[:, 2:]], dim=1))

    found = []
    for layer in (torchdeq.get_deq, get_deq):
        deq = layer(**TIGHT, core="sliced", n_states=2, ift=True).train()
        states, _ = deq(embedded, z0)
        assert {type(state) for state in states} == {list}
        a, b = states[-1]
        gradients = torch.autograd.grad((f.u * a).sum() + b.sum(), (f.weight, f.x))
        found.append((a, b, *gradients))
    assert worst(*found) < 1e-8


@pytest.mark.parametrize("layer", [torchdeq.get_deq, get_deq])
def test_two_solves_before_one_backward_pass(f, layer):
    deq = layer(**TIGHT, ift=True).train()
    (one,), _ = deq(f, f.z0)
    (other,), _ = deq(f, f.z0 + 1)
    assert worst(f.gradient(0.5 * one + 0.5 * other), f.exact_gradient()) < 1e-8


# Where the two differ. The numbers of torchdeq are those that it has, no demand on it.


def test_an_absolute_tolerance_of_the_backward_solve_is_relative_here(f):
    f.u = 1e-7 * f.u  # what the mean over a large batch leaves of a cotangent
    (there, _), (here, _) = both(TIGHT | {"ift": True, "b_tol": 1e-6}, f)
    exact = f.exact_gradient()
    assert worst(f.gradient(there[0]), exact) > 0.3  # a single term of the series
    assert worst(f.gradient(here[0]), exact) < 1e-5


def test_the_last_state_is_the_equilibrium_where_the_solve_ends_early(f):
    options = {"core": "indexing", "n_states": 3, "f_tol": 1e-9, "f_max_iter": 60, "ift": True}
    (there, _), (here, _) = both(options, f)
    exact = f.exact_gradient()
    assert len(there) == 1  # of step 20, with the gradient of one step
    assert worst(f.gradient(there[-1]), exact) > 0.3
    assert len(here) == 3
    assert worst(f.gradient(here[-1]), exact) < 1e-5


@pytest.mark.parametrize("f_solver", SOLVERS)
def test_a_sample_does_not_depend_on_the_others(f, f_solver):
    x, weight = torch.cat([0 * f.x[:1] + 0.01, f.x[1:]]).detach(), f.weight.detach()
    changes = []
    for layer in (torchdeq.get_deq, get_deq):
        deq = layer(f_solver=f_solver, f_tol=1e-2).eval()
        (alone,), _ = deq(lambda z: torch.tanh(z @ weight.T + x[:1]), f.z0[:1])
        (among,), _ = deq(lambda z: torch.tanh(z @ weight.T + x), f.z0)
        changes.append((alone - among[:1]).abs().max())
    assert changes[0] > 1e-5
    assert changes[1] < 1e-15


@pytest.mark.parametrize("f_solver", SOLVERS)
def test_nan_and_missed_tolerances_are_said(f, f_solver):
    calls, row = [], torch.tensor([[0.0], [float("nan")], [0.0]], dtype=torch.float64)

    def spoiled(z):
        calls.append(z)
        return f(z) + row

    value, _ = torchdeq.get_deq(f_solver=f_solver).eval()(spoiled, f.z0)
    assert value[0][1].isnan().all()  # warnings are errors here: it said nothing
    assert len(calls) >= 40
    calls.clear()
    deq = get_deq(f_solver=f_solver).eval()
    with pytest.warns(ConvergenceWarning, match="DEQSliced: samples missed .* inf or nan"):
        (value,), info = deq(spoiled, f.z0)
    assert len(calls) < 20
    assert info.solution.status.tolist() == [Status.CONVERGED, Status.NONFINITE, Status.CONVERGED]
    torch.testing.assert_close(value[::2], f.equilibrium()[::2], rtol=0, atol=1e-2)


def test_units_of_the_state_change_nothing():
    basis = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))[0]
    matrix = basis @ torch.linspace(-0.95, 0.95, 20, dtype=torch.float64).diag() @ basis.T
    b = torch.randn(4, 20, dtype=torch.float64)
    gold = torch.linalg.solve(torch.eye(20, dtype=torch.float64) - matrix, b.T).T
    errors = []
    for layer in (torchdeq.get_deq, get_deq):
        deq = layer(f_solver="anderson", f_tol=1e-4, f_stop_mode="rel", f_max_iter=60).eval()
        (value,), _ = deq(lambda z: z @ matrix + 1e-3 * b, 0 * b)
        errors.append(worst((1e3 * value,), (gold,)))
    assert errors[0] > 0.01  # lam, 1e-4, is more than the squares of these residuals
    assert errors[1] < 2e-3  # 1e-4 / (1 - .95)


def test_the_spectral_radius_of_a_rotation():
    turn = torch.tensor([[0.0, -0.9], [0.9, 0.0]])
    for layer, radius in ((torchdeq.get_deq, 0.0), (get_deq, 0.9)):
        deq = layer(f_max_iter=200).eval()
        _, info = deq(lambda z: z @ turn.T, torch.ones(2, 2), sradius_mode=True)
        torch.testing.assert_close(info["sradius"].float(), torch.full((2,), radius))


def test_the_statistics_are_those_of_the_iterates(f):
    options = {"f_solver": "fixed_point_iter", "f_tol": 1e-6, "f_max_iter": 60}
    (_, there), (_, here) = both(options, f)
    assert set(here) == set(there)
    slowest = int(here["nstep"].argmax())
    for key in ("abs_trace", "rel_trace"):
        assert there[key][0, 0] == 1e8
        taken = int(here["nstep"][slowest])
        torch.testing.assert_close(here[key][slowest, :taken], there[key][slowest, 1 : taken + 1])
    for key in ("abs_lowest", "rel_lowest", "nstep"):
        torch.testing.assert_close(here[key][slowest], there[key][slowest].to(here[key]))


@pytest.mark.parametrize("states", [1, 2])
def test_the_statistics_are_those_of_the_last_solve(f, states):
    deq = get_deq(n_states=states, f_tol=1e-3, f_max_iter=30)
    *_, value = deq(f, f.z0)[0]
    info = deq(f, f.z0)[1]
    torch.testing.assert_close(info["abs_lowest"], (f(value) - value).norm(dim=1))
    torch.testing.assert_close(info["rel_lowest"], info["abs_lowest"] / f(value).norm(dim=1))
