"""One name for a layer wherever it is spoken of."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from deqlab import DEQ, diagnose
from deqlab.integrations import scalars
from deqlab.named_parts import named_parts
from deqlab.nn import DenseCell
from deqlab.solvers import Picard
from deqlab.stability import certify
from deqlab.training import ConvergenceLog, RateControl
from deqlab.training.layers import layers_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        cell = DenseCell(3, 5, gain=3.0)
        self.core = nn.Sequential(DEQ(cell, solver=Picard(max_steps=2)), nn.Linear(5, 2))

    def forward(self, x):
        return self.core(x)


def test_rows_and_certificates_have_the_path_and_sentences_have_the_name_before_it():
    model, x = Net(), torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"rate control: DEQ\(DenseCell\) has a cell without"):
        RateControl(copy.deepcopy(model).core[0], target=0.5)
    log = ConvergenceLog(model, window=1)
    with pytest.warns(UserWarning, match="samples missed the tolerance") as solving:
        model(x)
    with pytest.warns(UserWarning, match="is off its equilibrium at step 1") as slipping:
        log.step()
    log.row()
    assert log.rows[0]["layer"] == "core.0" == next(iter(certify(model)))
    assert next(iter(scalars(log.rows[0]))).startswith("core.0/")
    assert log.in_words()[0:1] in ([], ["core.0: 2 evaluations"])
    for each in (*solving, *slipping):
        assert str(each.message).startswith("DEQ(DenseCell) (core.0)")
    with pytest.raises(ValueError, match=r"rate control: DEQ\(DenseCell\) \(core.0\) has a cell"):
        RateControl(model, target=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert diagnose(model, x).name == "Net: DEQ(DenseCell) (core.0)"


@pytest.mark.parametrize("wrap", [nn.DataParallel, AveragedModel, lambda model: model])
def test_wrappers_are_no_part_of_a_name(wrap):
    model = wrap(Net())
    assert list(layers_of(model)) == list(certify(model)) == ["core.0"]
    inside = nn.Sequential(wrap(Net()))
    assert list(layers_of(inside)) == list(certify(inside)) == ["0.core.0"]


def test_a_part_of_that_name_is_no_wrapper():
    model = nn.ModuleDict({"module": nn.Linear(2, 2)})
    assert [name for name, _ in named_parts(model)] == ["", "module"]
    assert [name for name, _ in model.named_modules()] == ["", "module"]


@pytest.mark.slow  # torch.compile takes seconds to import
def test_compiled_models_have_the_names_of_those_that_are_not():
    model = torch.compile(Net(), backend="eager")
    assert list(layers_of(model)) == list(certify(model)) == ["core.0"]
    (layer,) = layers_of(torch.compile(DEQ(DenseCell(3, 5)), backend="eager"))
    assert layer == ""
