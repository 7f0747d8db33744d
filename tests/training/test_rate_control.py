"""The controller against rates that are known in closed form."""

import copy
import math

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, JacobianFree, Picard
from deqlab.nn import DenseCell
from deqlab.training import RateControl
from tests.training.gated import Gated

X = 1e-6 * torch.randn(16, 8, generator=torch.Generator().manual_seed(1))  # where tanh is linear


def layer(gain, **options):
    return DEQ(Gated(gain=gain), solver=Picard(rtol=1e-2), on_failure="ignore", **options)


def test_the_rate_of_picard_on_a_rotation_is_its_radius():
    solution = layer(0.6).solve(X)
    assert solution.converged.all()
    torch.testing.assert_close(solution.rate, torch.full((16,), 0.6), rtol=1e-3, atol=0)


def test_the_rate_is_nothing_where_nothing_was_iterated():
    assert layer(0.6).solve(torch.zeros(2, 8)).rate.tolist() == [0, 0]
    assert layer(0.6).solve(torch.zeros(0, 8)).rate.shape == (0,)


@pytest.mark.parametrize("rows_independent", [False, True])
def test_the_rate_of_a_sample_is_measured_until_its_verdict(rows_independent):
    # A batch mate that iterates on changes nothing: with J = gain I the rate is the gain.
    deq = DEQ(Gated(gain=0.7), solver=Picard(rtol=1e-4), rows_independent=rows_independent)
    with torch.no_grad():
        deq.cell.weight.copy_(torch.eye(8))
    x = X.clone()
    x[0] = 50.0  # tanh is flat there: one step
    rate = deq.solve(x).rate
    torch.testing.assert_close(rate[1:], torch.full((15,), 0.7), rtol=1e-3, atol=0)
    assert rate[0] < 0.1


@pytest.mark.parametrize("gain", [0.1, 0.9, 3.0])
def test_the_knob_goes_to_where_the_rate_is_the_target(gain):
    deq = layer(gain)
    control = RateControl(deq, target=0.5, speed=0.5)
    for _ in range(60):
        deq(X)
        control.step()
    # The radius of J is the knob, and so is the rate.
    assert deq.cell.gain.item() == pytest.approx(0.5, rel=2e-2)
    assert control.log()[""] == {
        "rate": pytest.approx(0.5, rel=2e-2),
        "gain": deq.cell.gain.item(),
    }


def test_one_step_is_the_law():
    for gain, exponent in ((0.25, 0.1), (0.48, math.log(0.5 / 0.48)), (0.9, math.log(0.5 / 0.9))):
        deq = layer(gain)
        control = RateControl(deq, target=0.5, speed=0.2)
        deq(X)
        control.step()
        assert deq.cell.gain.item() == pytest.approx(gain * math.exp(0.2 * exponent), rel=1e-3)


def test_it_falls_by_no_more_than_the_speed_and_rises_to_no_more_than_the_highest():
    deq = layer(0.9)
    control = RateControl(deq, target=1e-6)
    deq(X)
    control.step()
    assert deq.cell.gain.item() == pytest.approx(0.9 * math.exp(-0.1))
    deq = DEQ(Gated(gain=0.1, highest=0.1005), solver=Picard(rtol=1e-2))
    control = RateControl(deq, target=0.9)
    deq(X)
    control.step()
    assert deq.cell.gain.item() == pytest.approx(0.1005)


def test_samples_that_fail_count_as_a_rate_of_one_at_least():
    deq = DEQ(Gated(gain=0.8), solver=Picard(rtol=1e-6, max_steps=3), on_failure="ignore")
    control = RateControl(deq, target=0.95)
    deq(X)
    control.step()
    assert control.rates[""] >= 1
    assert deq.cell.gain < 0.8
    with torch.no_grad():
        deq.cell.weight.fill_(torch.nan)
    deq(X)
    control.step()
    assert control.rates[""] >= 1
    assert deq.cell.gain.isfinite()


def test_solves_in_eval_mode_and_steps_without_a_solve_change_nothing():
    deq = layer(0.9)
    control = RateControl(deq)
    control.step()
    deq.eval()
    deq(X)
    control.step()
    assert deq.cell.gain.item() == pytest.approx(0.9)
    assert control.log() == {}
    deq.train()
    deq(X)
    control.close()
    deq(X)
    assert deq.observers == []


def test_several_solves_of_a_step_are_measured_together():
    deq = layer(0.6)
    control = RateControl(deq, quantile=0.5)
    deq(X)
    with torch.no_grad():
        deq.cell.gain.fill_(0.2)
    deq(X)
    deq(X)
    control.step()
    assert control.rates[""].item() == pytest.approx(0.2, rel=1e-2)  # two of three


def test_every_layer_has_its_own_knob_and_the_optimiser_sees_none():
    model = nn.Sequential(layer(0.9), layer(0.2))
    control = RateControl(model, target=0.5)
    model(X)
    control.step()
    assert model[0].cell.gain < 0.9
    assert model[1].cell.gain > 0.2
    assert set(control.log()) == {"0", "1"}
    assert len(list(model.parameters())) == 2
    assert "0.cell.gain" in model.state_dict()


@pytest.mark.slow
def test_it_keeps_a_layer_at_its_equilibrium_that_would_leave_it():
    """A task that asks for a large state through a gain of its own: the optimiser drives J up."""
    shares = {}
    for controlled in (False, True):
        torch.manual_seed(0)
        deq = DEQ(Gated(gain=0.5), solver=Anderson(rtol=1e-2, max_steps=12), on_failure="ignore")
        control = RateControl(deq, target=0.4, quantile=0.9) if controlled else None
        optimizer = torch.optim.Adam(deq.parameters(), lr=3e-2)
        x = torch.randn(64, 8)
        for _ in range(80):
            loss = (deq(x) - 0.9 * torch.sign(x.roll(1, dims=1))).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if control is not None:
                control.step()
        deq(x)
        shares[controlled] = deq.last.converged.double().mean().item()
    assert shares[False] < 0.9
    assert shares[True] >= 0.99


def test_what_cannot_be_controlled_is_refused():
    with pytest.raises(ValueError, match=r"Linear has no DEQ layer"):
        RateControl(nn.Linear(2, 2))
    model = nn.Sequential(DEQ(DenseCell(2, 3)))
    with pytest.raises(ValueError, match=r"DEQ\(DenseCell\) \(0\) has a cell without a knob"):
        RateControl(model)
    for target in (0.0, 1.0, 1.5, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"target must lie between 0 and 1"):
            RateControl(layer(0.5), target=target)
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1"):
        RateControl(layer(0.5), quantile=1.0)
    with pytest.raises(ValueError, match="speed must be more than 0"):
        RateControl(layer(0.5), speed=0.0)
    with pytest.raises(TypeError, match="target"):
        RateControl(layer(0.5), target="low")


def test_a_copy_of_the_model_is_not_watched():
    deq = layer(0.9)
    control = RateControl(deq)
    copy.deepcopy(deq)(X)
    control.step()
    assert control.log() == {}


def test_a_model_that_is_moved_later_keeps_its_knob():
    """A new dtype makes new buffers, as a device does: the old one is no knob any more."""
    deq = layer(0.9)
    control = RateControl(deq, target=0.5, quantile=0.5)
    deq.double()(X.double())
    control.step()
    assert control.log() == {"": {"rate": pytest.approx(0.9, rel=1e-3), "gain": deq.cell.gain}}
    assert deq.cell.gain.item() == pytest.approx(0.9 * math.exp(0.1 * math.log(0.5 / 0.9)))


@pytest.mark.usefixtures("traceable")
def test_a_rate_that_nothing_measured_is_refused():
    deq = DEQ(Gated(gain=0.5), solver=Picard(rtol=1e-2), gradient=JacobianFree())
    control = RateControl(deq)
    torch.compile(deq, fullgraph=True, backend="eager")(X)
    with pytest.raises(RuntimeError, match=r"left no trace, .* compile without fullgraph=True"):
        control.step()
    assert deq.cell.gain == 0.5
