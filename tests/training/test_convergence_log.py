"""The convergence log: what it keeps is what the solves said, and a slip is not overlooked."""

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import deqlab
from deqlab import DEQ, Anderson, ConvergenceWarning, Implicit, Picard
from deqlab.gradients import GMRES
from deqlab.nn import DenseCell
from deqlab.training import (
    ConvergenceLog,
    MoreSteps,
    OffEquilibriumError,
    Raise,
    RateControl,
    Shrink,
    Stop,
    Warn,
)
from tests.training.gated import Gated

X = torch.randn(12, 8, generator=torch.Generator().manual_seed(2))


def layer(gain=0.5, **settings):
    return DEQ(Gated(gain=gain), solver=Picard(rtol=1e-3, **settings), on_failure="ignore")


def slipping(**settings):
    return layer(0.9, max_steps=4, **settings)


def steps(log, deq, count):
    return [(deq(X).sum().backward(), log.step())[1] for _ in range(count)]


def test_it_keeps_what_the_solves_said():
    deq = layer(max_steps=7)
    log = ConvergenceLog(deq, least=0.01)
    solution = deq.solve(X)
    solution.value.sum().backward()
    assert log.step()
    row = log.row()
    excess = (solution.residual / solution.tolerance).double()
    assert 0 < solution.converged.double().mean() < 1
    assert row == {
        "train_converged": pytest.approx(solution.converged.double().mean().item()),
        "adjoint_converged": pytest.approx(solution.adjoint[0].converged.double().mean().item()),
        "excess": pytest.approx(excess.quantile(0.9, interpolation="higher").item()),
        "rate": pytest.approx(solution.rate.median().item()),
        "evaluations": solution.evaluations,
        "adjoint_products": solution.adjoint[0].products + solution.adjoint[0].evaluations,
    }
    assert row["adjoint_products"] > 0
    assert log.rows == [
        {"step": 1, "layer": "", **row, "excess_max": pytest.approx(excess.max().item())}
    ]
    assert log.row() == {}


def test_the_error_of_a_gradient_is_kept_where_it_was_asked_for():
    deq = DEQ(Gated().double(), solver=Anderson(rtol=1e-6), gradient=Implicit(accuracy=1e-3))
    log = ConvergenceLog(deq)
    deq(X.double()).sum().backward()
    log.step()
    assert log.row()["gradient_error"] == pytest.approx(deq.last.gradient_error.median().item())


def test_layers_are_kept_apart_and_the_worst_is_told():
    model = nn.Sequential(layer(0.3), nn.Tanh(), slipping())
    log = ConvergenceLog(model, window=50)
    for _ in range(3):
        model(X).sum().backward()
        log.step()
    row = log.row()
    first, second = log.rows
    assert (first["layer"], second["layer"]) == ("0", "2")
    assert first["train_converged"] == 1
    assert second["train_converged"] == row["train_converged"] < 0.5
    assert row["evaluations"] == first["evaluations"] + second["evaluations"]
    assert row["rate"] == max(first["rate"], second["rate"])


def test_a_layer_that_holds_is_left_alone():
    deq = layer()
    log = ConvergenceLog(deq, policy=Raise(), window=5)
    assert all(steps(log, deq, 30))
    assert log.slips == []


def test_one_bad_step_is_no_slip_and_a_bad_window_is():
    deq = layer()
    log = ConvergenceLog(deq, policy=Raise(), window=10, least=0.9)
    good, bad = deq.solver, Picard(rtol=1e-3, max_steps=2)
    for index in range(30):  # one of ten is not
        deq.solver = bad if index % 10 == 5 else good
        steps(log, deq, 1)
    deq.solver = bad
    with pytest.raises(OffEquilibriumError, match=r"0\.0 % of the samples|% of the samples conv"):
        steps(log, deq, 10)


def test_it_warns_once_with_the_numbers_and_what_to_do():
    deq = slipping()
    log = ConvergenceLog(deq, window=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert all(steps(log, deq, 12))
    (warning,) = caught
    assert warning.category is ConvergenceWarning
    text = str(warning.message)
    assert "DEQ(Gated) is off its equilibrium at step 3: in the last 3 steps 0.0 %" in text
    assert "RateControl" in text
    assert len(log.slips) == 4


def test_raise_stops_a_plain_loop():
    deq = slipping()
    log = ConvergenceLog(nn.Sequential(nn.Identity(), deq), policy=Raise(), window=4)
    with pytest.raises(OffEquilibriumError, match=r"DEQ\(Gated\) \(1\) is off .* at step 4"):
        steps(log, deq, 4)


def test_stop_ends_training():
    deq = slipping()
    log = ConvergenceLog(deq, policy=Stop(), window=4)
    with pytest.warns(ConvergenceWarning, match="Training stops"):
        assert steps(log, deq, 4) == [True, True, True, False]


def test_more_steps_are_given_until_they_suffice():
    deq = layer(0.9, max_steps=4)
    log = ConvergenceLog(deq, policy=MoreSteps(), window=2)
    steps(log, deq, 20)
    assert deq.solver.max_steps in (32, 64, 128)
    assert deq.solver == Picard(rtol=1e-3, max_steps=deq.solver.max_steps)
    assert deq.last.converged.all()


def test_more_steps_end_somewhere_and_say_so():
    deq = layer(2.0, max_steps=4)
    log = ConvergenceLog(deq, policy=MoreSteps(factor=3, most=20), window=2)
    with pytest.warns(ConvergenceWarning, match="may take 20 steps, and gets no more"):
        steps(log, deq, 8)
    assert deq.solver.max_steps == 20


def test_shrink_turns_the_knob_until_the_layer_holds():
    deq = slipping()
    log = ConvergenceLog(deq, policy=(Shrink(0.5), Raise()), window=1)
    with pytest.raises(OffEquilibriumError):
        steps(log, deq, 1)
    assert deq.cell.gain.item() == pytest.approx(0.45)
    log = ConvergenceLog(deq, policy=Shrink(0.5), window=1)
    steps(log, deq, 12)
    assert deq.last.converged.all()


def test_a_log_goes_on_from_its_state_through_json():
    """Half of a window, half of an interval, a layer that has slipped, a solver with more steps."""

    def made():
        deq = slipping()
        return deq, ConvergenceLog(deq, policy=(MoreSteps(most=8), Warn()), window=3)

    whole, log = made()
    with pytest.warns(ConvergenceWarning):
        steps(log, whole, 4)
    log.row()
    steps(log, whole, 1)
    deq, again = made()
    again.load_state_dict(json.loads(json.dumps(log.state_dict())))
    assert deq.solver == whole.solver != slipping().solver
    with pytest.warns(ConvergenceWarning, match="may take 8 steps"):
        steps(log, whole, 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        steps(again, deq, 1)
    assert "may take 8 steps" in str(caught[0].message)
    assert len(caught) == 1  # it has warned of the slip before
    assert again.row() == log.row()
    assert again.state_dict() == log.state_dict()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="has no DEQ layer"):
        ConvergenceLog(nn.Linear(2, 2))
    for least in (0.0, 1.5):
        with pytest.raises(ValueError, match="least must be above 0 and at most 1"):
            ConvergenceLog(layer(), least=least)
    with pytest.raises(ValueError, match="window"):
        ConvergenceLog(layer(), window=0)
    with pytest.raises(ValueError, match="factor must be at least 2"):
        MoreSteps(factor=1)
    for factor in (0.0, 1.0):
        with pytest.raises(ValueError, match="factor must lie between 0 and 1"):
            Shrink(factor)


def test_a_cell_without_a_knob_cannot_be_turned_down():
    cell = DenseCell(8, 8)
    deq = DEQ(cell, solver=Picard(max_steps=1, rtol=1e-9), on_failure="ignore")
    log = ConvergenceLog(deq, policy=Shrink(), window=1)
    with pytest.raises(OffEquilibriumError, match="no knob"):
        steps(log, deq, 1)


def test_samples_that_are_not_finite_are_infinitely_far():
    deq = layer()
    log = ConvergenceLog(deq, window=50)
    with torch.no_grad():
        deq.cell.weight.fill_(torch.nan)
    deq(X)
    log.step()
    log.row()
    (row,) = log.rows
    assert (row["train_converged"], row["excess"], row["excess_max"]) == (0, math.inf, math.inf)
    deq = layer()
    log = ConvergenceLog(deq, policy=Raise(), window=1)
    one = X.clone()
    one[:3] = torch.nan
    deq(one)
    with pytest.raises(OffEquilibriumError, match="up to inf times"):
        log.step()


def test_samples_that_are_there_at_once_have_no_excess():
    deq = layer()
    log = ConvergenceLog(deq)
    deq(torch.zeros(4, 8))
    log.step()
    log.row()
    assert log.rows[0]["excess_max"] == 0


def test_who_watches_a_layer_that_is_not_trained_is_told_once():
    deq = layer().eval()
    log, control = ConvergenceLog(deq), RateControl(deq)
    for watch in (log, control):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(50):
                deq(X)
                watch.step()
        (warning,) = caught
        assert "no solve in train mode was seen in 20 steps" in str(warning.message)
        assert "model.train()" in str(warning.message)


def test_a_layer_that_is_sometimes_left_out_is_no_reason_to_warn():
    deq = layer()
    log = ConvergenceLog(deq)
    steps(log, deq, 1)
    for _ in range(50):
        assert log.step()


def test_a_checkpoint_has_what_training_changed_and_leaves_what_the_user_did():
    deq = slipping()
    log = ConvergenceLog(deq, policy=MoreSteps(), window=2)
    steps(log, deq, 2)
    assert deq.solver == Picard(rtol=1e-3, max_steps=8)
    state = log.state_dict()
    other = layer(0.9, max_steps=4)
    other.solver = replace(other.solver, rtol=1e-5)
    other.gradient = Implicit(solver=GMRES(rtol=1e-2))
    ConvergenceLog(other).load_state_dict(state)
    assert other.solver == Picard(rtol=1e-5, max_steps=8)
    assert other.gradient == Implicit(solver=GMRES(rtol=1e-2))
    same = slipping()
    ConvergenceLog(same).load_state_dict(ConvergenceLog(slipping()).state_dict())
    assert same.solver == slipping().solver


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("policy", ["raise", Raise, None, [Warn(), "stop"], 3])
def test_what_is_no_policy_is_refused_when_the_log_is_made(policy):
    with pytest.raises(TypeError, match=r"policy must be a function, such as training.Raise\(\)"):
        ConvergenceLog(layer(), policy=policy)


def test_every_field_of_a_row_is_explained_on_the_page():
    deq = layer()
    deq.gradient = Implicit(accuracy=1e-2)
    log = ConvergenceLog(deq)
    steps(log, deq, 1)
    log.row()
    root = Path(deqlab.__file__).parents[2] / "docs"
    page = (root / "training.md").read_text(encoding="utf-8")
    on_disk = (root / "run-directory.md").read_text(encoding="utf-8")
    fields = log.rows[0].keys() - {"step", "layer"}
    assert "gradient_error" in fields
    assert {field for field in fields if f"\n| `{field}` |" not in page} == set()
    assert {field for field in fields if f"`{field}`" not in on_disk} == set()
    assert "| excess |" in (root.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
