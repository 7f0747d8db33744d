"""Neurons that read themselves: one equilibrium below 1, none from 1 on, and its derivatives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.expressivity import ReadoutDEQ
from deqlab.expressivity.search import (
    Architecture,
    Evaluation,
    Network,
    as_deq,
    evaluate,
    levenberg_marquardt,
    perturb,
    random_network,
)
from deqlab.expressivity.search.modules import LOOSEST
from deqlab.solvers import Newton

LOOPS = Architecture((1,) * 4, dense=True, loops=True, skip=False)
X = torch.linspace(-1.03, 1.01, 37, dtype=torch.float64)


def network(seed=0, architecture=LOOPS):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(architecture.num_parameters, generator=generator, dtype=torch.float64)
    # From 1 - w = 0.05 to 20.
    weights[architecture.is_loop] = 1 - torch.exp(1.5 * weights[architecture.is_loop].clamp(-2, 2))
    return Network(architecture, architecture.matrix(weights))


def with_loop(model, row, value):
    a = model.matrix.clone()
    a[row, row] = value
    return Network(model.architecture, a)


def test_loops_and_the_skip_are_counted():
    without = Architecture((1,) * 10, dense=True)
    loops = Architecture((1,) * 10, dense=True, loops=True)
    assert loops.num_parameters == without.num_parameters + 10
    assert loops.multiply_adds == without.multiply_adds + 10
    assert Architecture((1,) * 10, dense=True, skip=False).num_parameters == 76
    rows, columns = loops.entries
    assert rows[loops.is_loop].tolist() == columns[loops.is_loop].tolist() == list(range(10))
    assert not without.is_loop.any()


def test_feed_forward_networks_have_no_loops():
    with pytest.raises(ValueError, match="a feed-forward network has no loops"):
        Architecture((2,), dense=False, loops=True)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_substitution_is_an_equilibrium_that_repeats_itself(seed):
    model = network(seed)
    a = model.matrix
    s = Evaluation(LOOPS, X)._signals(a)
    again = torch.relu(a[:-1] @ s)
    torch.testing.assert_close(again, s[:4], rtol=1e-10, atol=1e-10 * s[:4].abs().max().item())


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_newton_solves_to_what_substitution_says(seed, skip):
    model = network(seed, Architecture((1,) * 4, dense=True, loops=True, skip=skip))
    module = as_deq(model)
    assert isinstance(module, ReadoutDEQ)
    assert (module.skip is not None) == skip
    assert torch.equal(module.layer.cell.weight, model.matrix[:4, :4])
    solution = module.layer.solve(X[:, None])
    assert solution.converged.all()
    y = module.output(X[:, None], solution)[:, 0].detach()
    ours = evaluate(model, X)
    torch.testing.assert_close(y, ours, rtol=1e-10, atol=1e-10)


def test_the_tolerance_is_the_rounding_of_a_state_that_outgrows_its_start():
    a = torch.zeros(3, 4, dtype=torch.float64)
    a[0] = torch.tensor([1 - 2.0**-20, 0, 1, 0])
    a[1] = torch.tensor([3.0, 0, 0, -1])
    architecture = Architecture((1, 1), dense=True, loops=True)
    # z_2 <= 3 z_1 + 1 and z_1 <= 2^20.
    solver = as_deq(Network(architecture, a)).layer.solver
    assert isinstance(solver, Newton)
    assert solver.rtol == pytest.approx(4 * 2.0**-52 * (3 * 2.0**20 + 1), rel=1e-9)
    # What a neuron is kept down by makes it no larger.
    a[1, 0] = -3.0
    solver = as_deq(Network(architecture, a)).layer.solver
    assert solver.rtol == pytest.approx(4 * 2.0**-52 * 2.0**20, rel=1e-9)
    a[0, 0] = 1 - 2.0**-50
    assert as_deq(Network(architecture, a)).layer.solver.rtol == LOOSEST
    a[0, 0] = -5.0
    assert as_deq(Network(architecture, a)).layer.solver.rtol == 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_the_jacobian_is_that_of_autograd_through_the_closed_form(seed):
    model = network(seed)

    def output(weights):
        a = torch.zeros(5, 6, dtype=torch.float64).index_put(LOOPS.entries, weights)
        z = []
        for i in range(4):
            q = sum((a[i, j] * z[j] for j in range(i)), a[i, 4] * X + a[i, 5])
            z.append(torch.relu(q) / (1 - a[i, i]))
        return sum((a[4, j] * z[j] for j in range(4)), a[4, 4] * X + a[4, 5])

    y, j = Evaluation(LOOPS, X).jacobian(model.weights)
    torch.testing.assert_close(y, output(model.weights), rtol=1e-12, atol=1e-12)
    expected = torch.autograd.functional.jacobian(output, model.weights)
    torch.testing.assert_close(j, expected.mT, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("value", [1.0, 1.5])
def test_a_loop_of_1_or_more_has_no_equilibrium_and_no_output(value):
    broken = with_loop(network(), 2, value)
    assert evaluate(broken, X).isnan().all()


class Watched(Evaluation):
    """Asks for no derivative where there is no equilibrium."""

    refused = 0

    def output(self, weights):
        y = super().output(weights)
        Watched.refused += y.isnan().any().item()
        return y

    def jacobian(self, weights):
        assert (weights[self.architecture.is_loop] < 1).all()
        return super().jacobian(weights)


def test_a_fit_refuses_steps_beyond_1_and_takes_no_derivative_there():
    # One neuron, relu(x) / (1 - w), that should be a thousand times as steep: steps overshoot.
    architecture = Architecture((1,), dense=True, loops=True, skip=False)
    a = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    Watched.refused = 0
    start = Network(architecture, a)
    fit = levenberg_marquardt(
        Watched(architecture, X), start.weights, 1000 * torch.relu(X), steps=200
    )
    assert Watched.refused > 0
    assert fit.loss < 1e-20


def test_noise_multiplies_what_a_loop_is_short_of_1():
    model = with_loop(network(), 1, 1 - 2.0**-20)
    short = []
    for seed in range(400):
        moved = perturb(model, 0.5, torch.Generator().manual_seed(seed))
        loops = moved.matrix[:4, :4].diagonal()
        assert (loops < 1).all()
        short.append((1 - loops[1]) * 2.0**20)
    logs = torch.stack(short).log()
    # 400 draws know a mean within 0.025 and a standard deviation within 3.5 %; five of these.
    assert abs(logs.mean()) < 0.125
    assert logs.std().item() == pytest.approx(0.5, rel=0.18)


def test_random_networks_start_without_loops_and_as_those_that_have_none():
    target = torch.relu(X)
    with_them, without = (
        random_network(
            Architecture((1,) * 4, True, loops), X, target, torch.Generator().manual_seed(3)
        ).matrix
        for loops in (True, False)
    )
    assert torch.equal(with_them, without)
