"""A training by Lightning keeps a DEQ at its equilibrium as a plain loop does."""

import csv
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader

from deqlab import Anderson, Picard
from deqlab.integrations import scalars
from deqlab.training import ConvergenceLog, MoreSteps
from tests.integrations import trained

pytest.importorskip("lightning", exc_type=ImportError)

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from deqlab.integrations.lightning import EquilibriumCallback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # of Lightning itself
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]


class Module(LightningModule):
    def __init__(self, gain=0.9, solver=None):
        super().__init__()
        self.save_hyperparameters()
        self.net = trained.model(gain)
        if solver is not None:
            self.net[1].solver = solver

    def training_step(self, batch, index):
        return trained.loss(self.net, *batch)

    def configure_optimizers(self):
        return trained.optimiser(self)


class Validated(Module):
    def validation_step(self, batch, index):
        trained.loss(self.net, *batch)


class Twice(Module):
    """Takes the steps of its optimiser itself, one for every two batches."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, index):
        self.manual_backward(trained.loss(self.net, *batch) / 2)
        if index % 2:
            self.optimizers().step()
            self.optimizers().zero_grad()


SHORT = Picard(rtol=1e-3, max_steps=4)


def loader(count):
    return DataLoader(trained.batches(count), batch_size=None)


def callback(log=ConvergenceLog, control=trained.control):
    return EquilibriumCallback(control=control, log=log)


def trainer(path, *callbacks, **settings):
    settings = {"max_epochs": 1, "log_every_n_steps": 4, "logger": False} | settings
    return Trainer(
        callbacks=[*callbacks],
        default_root_dir=path,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks),
        **settings,
    )


def named(rows, prefix="net."):
    return [row | {"layer": prefix + row["layer"]} for row in rows]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_is_a_plain_loop_on_the_same_batches(tmp_path, accumulate):
    module, watcher = Module(), callback()
    twin, rates = trained.twin(module.net), trained.Rates(module.net)
    trainer(tmp_path, watcher, accumulate_grad_batches=accumulate).fit(module, loader(24))
    rows = trained.plainly(twin, trained.batches(24), every=4, accumulate=accumulate)
    assert len(rows) == 6 / accumulate
    assert watcher.convergence.rows == named(rows)
    assert all(map(torch.equal, module.state_dict().values(), twin.state_dict().values()))
    knob = trained.layer_of(module).cell.gain.item()
    assert knob == pytest.approx(rates.knob_by_the_law(solves_a_step=accumulate), rel=1e-5)
    assert knob < 0.6


def test_a_module_that_steps_by_itself_is_controlled_after_its_steps(tmp_path):
    module, watcher = Twice(), callback()
    twin = trained.twin(module.net)
    trainer(tmp_path, watcher).fit(module, loader(24))
    rows = trained.plainly(twin, trained.batches(24), every=4, accumulate=2)
    assert watcher.convergence.rows == named(rows)


def test_validation_is_not_logged(tmp_path):
    module, watcher = Validated(), callback()
    twin = trained.twin(module.net)
    trainer(tmp_path, watcher, val_check_interval=3).fit(module, loader(12), loader(2))
    assert watcher.convergence.rows == named(trained.plainly(twin, trained.batches(12), every=4))


def test_loggers_get_the_rows_and_the_knob(tmp_path):
    module, watcher, logger = Module(), callback(), CSVLogger(tmp_path)
    ran = trainer(tmp_path, watcher, logger=logger)
    ran.fit(module, loader(12))
    with open(logger.experiment.metrics_file_path, newline="") as file:
        written = list(csv.DictReader(file))
    for found, row in zip(written, watcher.convergence.rows, strict=True):
        assert int(found["step"]) == row["step"] - 1  # Lightning counts from 0
        told = {name: float(found[name]) for name in scalars(row)}
        assert told == pytest.approx(scalars(row), rel=1e-6)  # Lightning keeps float32
    gain = trained.layer_of(module).cell.gain.item()
    assert ran.callback_metrics["net.1/control/gain"].item() == pytest.approx(gain)


@pytest.mark.filterwarnings("ignore:.*Training stops")
def test_a_policy_ends_training(tmp_path):
    module, watcher = Module(gain=3.0), callback(trained.stopping, control=None)
    ran = trainer(tmp_path, watcher)
    ran.fit(module, loader(24))
    assert ran.global_step == 3
    assert [row["step"] for row in watcher.convergence.rows] == [3]
    assert "off its equilibrium at step 3" in watcher.convergence.slips[0]


def test_a_training_that_goes_on_is_one_that_never_ended(tmp_path):
    """Also where a policy gave the solver more steps, which no weight holds."""
    log = partial(ConvergenceLog, policy=MoreSteps(), window=3)

    def fit(folder, **options):
        module = Module(gain=0.95)
        trained.layer_of(module).solver = SHORT
        watcher = callback(log, control=None)
        keep = ModelCheckpoint(folder, filename="{step}", save_top_k=-1)
        trainer(folder, watcher, keep, max_epochs=3).fit(module, loader(10), **options)
        return watcher.convergence, module

    whole, module = fit(tmp_path / "whole")
    path = tmp_path / "whole" / "step=10.ckpt"
    parts, again = fit(tmp_path / "parts", ckpt_path=path, weights_only=True)
    assert (parts.steps, parts.slips) == (whole.steps, whole.slips)
    assert parts.rows == whole.rows
    assert trained.layer_of(again).solver == trained.layer_of(module).solver != SHORT
    assert all(map(torch.equal, again.state_dict().values(), module.state_dict().values()))


def test_it_can_be_trained_twice_and_leaves_the_layer_alone(tmp_path):
    module, watcher = Module(), callback()
    for _ in range(2):
        trainer(tmp_path, watcher).fit(module, loader(4))
        assert watcher.convergence.steps == 4
        assert trained.layer_of(module).observers == []


def test_a_solver_in_the_hyperparameters_loads_with_weights_only(tmp_path):
    solver = Anderson(rtol=1e-2, memory=3)
    watcher, keep = callback(), ModelCheckpoint(tmp_path, save_last=True)
    trainer(tmp_path, watcher, keep).fit(Module(solver=solver), loader(4))
    path = tmp_path / "last.ckpt"
    loaded = Module.load_from_checkpoint(path, weights_only=True)
    assert loaded.hparams.solver == loaded.net[1].solver == solver
    keep = ModelCheckpoint(tmp_path / "on", save_last=True)
    ran = trainer(tmp_path, callback(), keep, max_epochs=2)
    ran.fit(loaded, loader(4), ckpt_path=path, weights_only=True)
    assert ran.global_step == 8
