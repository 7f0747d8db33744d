"""The numbers behind the sentences, each against another route."""

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Implicit, JacobianFree, Phantom, Picard, diagnose
from deqlab.diagnosis import DiagnosisError
from deqlab.nn import DenseCell, MonotoneCell, SpectralNorm
from deqlab.solvers import PeacemanRachford
from tests.problems import F64, generator, matrix, normal


def measured(f, *inputs, starts=2, **options):
    found = diagnose(f, *inputs, starts=starts, **options).measurements
    assert not found.unmeasured
    return found


def test_the_error_of_a_neumann_sum_is_that_of_the_closed_form():
    # v of k terms is (I - J'^k) v*, so that its error is |J'^k v*| / |v*|; JacobianFree has k = 1.
    w, x = matrix(3, norm=0.7, seed=0), normal(4, 3, seed=1)
    seen = measured(lambda z, x: z @ w.T + x, x, gradient=Phantom(steps=3)).gradients
    u = torch.randn(4, 3, generator=generator(0), dtype=F64)
    v = torch.linalg.solve(torch.eye(3, dtype=F64) - w.T, u.T).T
    for name, k in (("Phantom", 3), ("JacobianFree", 1)):
        missing = v @ torch.linalg.matrix_power(w, k)
        expected = missing.norm(dim=1) / v.norm(dim=1)
        torch.testing.assert_close(seen.by_name[name].error, expected, rtol=1e-4, atol=0)
    assert seen.by_name["Implicit"].error.max() < 1e-4


@pytest.mark.slow
def test_large_states_are_compared_with_gmres(monkeypatch):
    w, x = matrix(3, norm=0.7, seed=0), normal(4, 3, seed=1)
    f = lambda z, x: torch.tanh(z @ w.T + x)  # noqa: E731
    dense = measured(f, x, gradient=JacobianFree()).gradients
    monkeypatch.setattr("deqlab.diagnosis.probes.gradients.DENSE", 2)
    other = measured(f, x, gradient=JacobianFree()).gradients
    assert (dense.reference, other.reference) != (other.reference, dense.reference)
    one, two = (of.by_name["JacobianFree"].error for of in (dense, other))
    torch.testing.assert_close(one, two, rtol=1e-6, atol=0)


def test_fixed_points_and_their_radius_are_those_of_the_cubic():
    # z (3 - z^2) / 2: 0 with slope 3/2, and +-1 with slope 0.
    seen = measured(lambda z, x: z * (3 - z**2) / 2 + 0 * x, normal(6, 1, seed=0) / 2).equilibria
    assert (seen.count >= 2).all()
    for point, radius in zip(seen.points.flatten(), seen.radius.flatten(), strict=True):
        if point.isfinite():
            nearest = torch.tensor([-1.0, 0.0, 1.0], dtype=F64)
            assert (nearest - point).abs().min() < 1e-6
            assert radius == pytest.approx(1.5 if point.abs() < 0.5 else 0.0, abs=1e-4)
    assert (seen.attracting == (seen.points.abs() > 0.5).sum(dim=0).flatten()).all()


@pytest.mark.slow
def test_coupled_rows_are_diagnosed_as_one_sample():
    mixing = torch.tensor([[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.2]], dtype=F64)
    x = normal(3, 2, seed=0)
    seen = measured(lambda z, x: mixing @ z + x, x)
    assert set(seen.coupling.pairs) == {(0, 1), (1, 0)}
    # The radius of the whole, where row by row there would be three.
    torch.testing.assert_close(
        seen.equilibria.radius, torch.tensor([[0.5]], dtype=F64), rtol=1e-6, atol=0
    )
    alone = measured(lambda z, x: mixing @ z + x, x, batched=False)
    assert not alone.coupling.coupled


@pytest.mark.slow
def test_the_change_with_the_tolerance_is_the_error_of_the_looser_solve():
    # Picard on 0.9 z + x ends where |0.1 z - x| = rtol |z|: 10 rtol from the fixed point.
    x = torch.ones(2, 1, dtype=F64)
    seen = measured(lambda z, x: 0.9 * z + x, x, solver=Picard(rtol=1e-2, max_steps=200)).tolerance
    assert seen.tighter == pytest.approx(1e-4)
    assert 0.08 < seen.change.max() < 0.1
    names = diagnose(lambda z, x: 0.9 * z + x, x, solver=Picard(rtol=1e-2, max_steps=200)).names()
    assert "tolerance-sensitive" not in names  # ten times rtol is what a rate of .9 costs


@pytest.mark.slow
def test_a_solver_that_fails_is_an_alarm_and_another_is_named():
    first, *_ = diagnose(lambda z, x: -1.5 * z + x, normal(3, 2, seed=0), solver=Picard()).findings
    assert first.name == "solver-fails"
    assert "repels" in first.sentence
    assert "Anderson()" in first.advice


@pytest.mark.slow
def test_a_tolerance_below_the_dtype_is_said():
    w = matrix(6, norm=0.7, seed=0).bfloat16()
    f = lambda z, x: torch.tanh(z @ w + x)  # noqa: E731
    x = normal(16, 6, seed=0).bfloat16()
    first, *_ = diagnose(f, x, starts=1, solver=Anderson(max_steps=20)).findings
    assert first.name == "precision"
    assert diagnose(f, x, starts=1, solver=Anderson(rtol=3e-2)).alarms == ()


class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.drop = nn.Linear(3, 3, dtype=F64), nn.Dropout(0.5)

    def forward(self, z, x):
        return 0.3 * torch.tanh(self.linear(self.drop(z))) + x


@pytest.mark.slow
def test_dropout_is_a_warning_in_train_mode_and_nothing_in_eval_mode():
    layer, x = DEQ(Dropped()), normal(4, 3, seed=0)
    trained = diagnose(layer, x, starts=1)
    assert trained.alarms == ()
    assert "drop (Dropout)" in trained.warnings[0].sentence
    assert "random" not in diagnose(layer.eval(), x, starts=1).names()


@pytest.mark.slow
def test_batch_norm_is_no_fault_in_eval_mode_or_in_one_sample():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3, dtype=F64)

        def forward(self, z, x):
            return 0.3 * torch.tanh(self.norm(z + x))

    x = normal(4, 3, seed=0)
    assert diagnose(DEQ(Cell()).eval(), x, starts=1).alarms == ()
    assert diagnose(DEQ(Cell(), batched=False), x, starts=1).alarms == ()
    assert diagnose(DEQ(Cell()), x, starts=1).alarms[0].name == "batch-norm"


def test_who_is_diagnosed_is_left_as_they_were():
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.BatchNorm1d(3, dtype=F64),
        DEQ(DenseCell(3, 4, constraint=SpectralNorm(0.8)).double()),
        nn.Linear(4, 2, dtype=F64),
    )
    x = normal(4, 3, seed=0)
    model(x)
    layer = model[1]
    layer.last, told = None, []
    layer.observers.append(told.append)
    before = {name: buffer.clone() for name, buffer in model.state_dict().items()}
    random = torch.get_rng_state()
    diagnose(model, x, starts=1)
    assert all(torch.equal(now, before[name]) for name, now in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert layer.last is None
    assert told == []
    assert "solve" not in vars(layer)


@pytest.mark.slow
def test_a_layer_is_diagnosed_with_what_its_model_gives_it():
    model = nn.Sequential(nn.Linear(2, 3, dtype=F64), DEQ(DenseCell(3, 4).double()))
    x = normal(5, 2, seed=0)
    whole, alone = diagnose(model, x, starts=0), diagnose(model[1], model[0](x), starts=0)
    assert whole.name == "Sequential: DEQ(DenseCell) (1)"
    one, two = (of.measurements.equilibria.value for of in (whole, alone))
    torch.testing.assert_close(one, two)


@pytest.mark.slow
def test_splitting_methods_are_diagnosed_too():
    layer = DEQ(MonotoneCell(3, 5).double(), solver=PeacemanRachford())
    seen = measured(layer, normal(4, 3, seed=0), starts=1)
    assert seen.solvers["PeacemanRachford"].all_converged
    assert seen.gradients.by_name["Implicit"].error.max() < 1e-4
    layer.gradient = Implicit(solver=PeacemanRachford())
    assert "splitting" in measured(layer, normal(4, 3, seed=0), starts=1).gradients.unmeasured


def test_a_probe_that_fails_is_said_and_the_others_go_on():
    def f(z, x):
        if z.requires_grad:
            raise RuntimeError("no such kernel")
        return 0.5 * torch.tanh(z) + x

    diagnosis = diagnose(f, normal(3, 2, seed=0), starts=0)
    (finding,) = (of for of in diagnosis.findings if of.name == "unmeasured")
    assert "fixed points (RuntimeError: no such kernel)" in finding.sentence
    assert diagnosis.measurements.solvers["Anderson"].all_converged
    assert diagnosis.measurements.tolerance is not None


TWO = nn.Sequential(DEQ(DenseCell(2, 2)), DEQ(DenseCell(2, 2)))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: diagnose(nn.Linear, X32), "a function or a module f.z, x., got the class Linear"),
        (lambda: diagnose(TWO, X32), "has 2 DEQ layers.*one of '0', '1'"),
        (lambda: diagnose(TWO, X32, layer="2"), "no DEQ layer named '2': it has '0', '1'"),
        (lambda: diagnose(torch.tanh, X32, layer="0"), "names a layer of a model"),
        (lambda: diagnose(TWO, normal(3, 5, seed=0), layer="0"), "could not|cannot"),
        (lambda: diagnose(lambda z, x: z @ x, X32), r"at a state of shape \(3, 2\): RuntimeError"),
        (lambda: diagnose(lambda z, x: z[:1], X32), "must keep the shape of z"),
        (lambda: diagnose(lambda z, x: z, "text"), "cannot start at these inputs: TypeError"),
        (lambda: diagnose(lambda z, x: z, X32[:0]), "the batch has no samples"),
    ],
)
def test_what_cannot_be_diagnosed_is_one_sentence(call, says):
    with pytest.raises(DiagnosisError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


X32 = normal(3, 2, seed=0).float()
