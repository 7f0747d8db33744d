"""A loop of Accelerate needs no callback: rate control and the log take its prepared model."""

import pytest
import torch
from torch.utils.data import DataLoader

from deqlab.training import ConvergenceLog
from tests.integrations import trained

pytest.importorskip("accelerate", exc_type=ImportError)

from accelerate import Accelerator

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _fresh():
    """Accelerate keeps one state for a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def accelerated(net, data, *, every, accumulate, precision, log=ConvergenceLog):
    """The loop of docs/integrations.md; returns the log."""
    accelerator = Accelerator(
        cpu=True, mixed_precision=precision, gradient_accumulation_steps=accumulate
    )
    model, optimizer, loader = accelerator.prepare(
        net, trained.optimiser(net), DataLoader(data, batch_size=None)
    )
    control, log = trained.control(model), log(model)
    for x, y in loader:
        with accelerator.accumulate(model):
            accelerator.backward(trained.loss(model, x, y))
            optimizer.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            control.step()
            if not log.step():
                break
            if log.steps % every == 0:
                log.row()
    return log


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_it_is_a_plain_loop_on_the_same_batches(accumulate, precision):
    net = trained.model(rtol=3e-2)  # bfloat16 resolves 4e-3
    twin, rates, data = trained.twin(net), trained.Rates(net), trained.batches(24)
    settings = {"every": 4, "accumulate": accumulate}
    log = accelerated(net, data, precision=precision, **settings)
    autocast = torch.bfloat16 if precision == "bf16" else None
    assert log.rows == trained.plainly(twin, data, autocast=autocast, **settings)
    assert all(map(torch.equal, net.state_dict().values(), twin.state_dict().values()))
    knob = trained.layer_of(net).cell.gain.item()
    assert knob == pytest.approx(rates.knob_by_the_law(solves_a_step=accumulate), rel=1e-5)
    assert knob < 0.6


@pytest.mark.filterwarnings("ignore:.*Training stops")
def test_a_policy_ends_training():
    log = accelerated(
        trained.model(gain=3.0),
        trained.batches(24),
        every=1,
        accumulate=1,
        precision="no",
        log=trained.stopping,
    )
    assert log.steps == 3
    assert "off its equilibrium at step 3" in log.slips[0]
