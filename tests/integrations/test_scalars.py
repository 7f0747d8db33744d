"""Rows of the log as named numbers, and what the callbacks rest on."""

import pytest
import torch

from deqlab.integrations import scalars
from deqlab.integrations.attached import Attached
from deqlab.training import ConvergenceLog
from tests.integrations import trained


def test_numbers_have_the_name_of_their_layer():
    row = {"step": 7, "layer": "", "rate": 0.5, "evaluations": 9}
    assert scalars(row) == {"deq/rate": 0.5, "deq/evaluations": 9.0}
    assert scalars(row | {"layer": "a.0"}) == {"a.0/rate": 0.5, "a.0/evaluations": 9.0}


def test_a_callback_without_a_control_and_a_log_is_refused():
    with pytest.raises(ValueError, match="control and log are both None"):
        Attached(trained.model(), None, None, None)


def test_numbers_are_those_since_the_last_call_with_the_rate_and_the_knob():
    net = trained.model()
    attached = Attached(net, trained.control, ConvergenceLog, None)
    for x, y in trained.batches(2):
        trained.loss(net, x, y).backward()
        assert attached.step()
    numbers = attached.numbers()
    assert numbers["1/control/gain"] == trained.layer_of(net).cell.gain.item()
    assert numbers["1/control/rate"] == attached.control.rates["1"].item()
    logged = {name: value for name, value in numbers.items() if "/control/" not in name}
    assert logged == scalars(attached.log.rows[0])
    assert {name for name in attached.numbers() if "/control/" not in name} == set()
    attached.close()
    assert trained.layer_of(net).observers == []


def test_one_of_both_is_enough():
    net = trained.model()
    only = Attached(net, trained.control, None, None)
    logs = Attached(net, None, ConvergenceLog, None)
    trained.loss(net, *trained.batches(1)[0]).backward()
    assert only.step()
    assert logs.step()
    assert set(only.numbers()) == {"1/control/gain", "1/control/rate"}
    assert "1/train_converged" in logs.numbers()
    assert only.state_dict() == {}
    assert torch.is_tensor(only.control.rates["1"])
