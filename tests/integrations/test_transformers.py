"""A training by the Trainer of Hugging Face keeps a DEQ at its equilibrium as a plain loop does."""

import json
from functools import partial

import pytest
import torch
from torch import nn

from deqlab import Picard
from deqlab.integrations import scalars
from deqlab.training import ConvergenceLog, MoreSteps
from tests.integrations import trained

pytest.importorskip("transformers", exc_type=ImportError)
pytest.importorskip("accelerate", exc_type=ImportError)

from transformers import Trainer, TrainingArguments

from deqlab.integrations.transformers import EquilibriumCallback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*pin_memory.*no accelerator"),
]

SHORT = Picard(rtol=1e-3, max_steps=4)


class Net(nn.Module):
    """Returns its loss, as the Trainer wants it, and keeps the batches that it is given."""

    def __init__(self, gain=0.9):
        super().__init__()
        self.net = trained.model(gain)
        self.seen = []

    def forward(self, x, labels):
        if self.training:
            self.seen.append((x.clone(), labels.clone()))
        return {"loss": trained.loss(self.net, x, labels)}


def samples(count):
    batches = trained.batches(count)
    return [{"x": x, "labels": y} for xs, ys in batches for x, y in zip(xs, ys, strict=True)]


def callback(log=ConvergenceLog, control=trained.control):
    return EquilibriumCallback(control=control, log=log)


def trainer(path, net, *callbacks, batches=24, **settings):
    optimizer = trained.optimiser(net)
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    return Trainer(
        net,
        TrainingArguments(
            str(path),
            per_device_train_batch_size=6,
            num_train_epochs=1,
            max_grad_norm=0.0,
            logging_steps=4,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            **{"save_strategy": "no"} | settings,
        ),
        train_dataset=samples(batches),
        eval_dataset=samples(2),
        callbacks=[*callbacks],
        optimizers=(optimizer, constant),
    )


def named(rows):
    return [row | {"layer": "net." + row["layer"]} for row in rows]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_is_a_plain_loop_on_the_same_batches(tmp_path, accumulate):
    net, watcher = Net(), callback()
    twin, rates = trained.twin(net.net), trained.Rates(net)
    settings = {"eval_strategy": "steps", "eval_steps": 3}  # what is evaluated is not logged
    ran = trainer(tmp_path, net, watcher, gradient_accumulation_steps=accumulate, **settings)
    ran.train()
    assert len(net.seen) == 24
    rows = trained.plainly(twin, net.seen, every=4, accumulate=accumulate)
    assert len(rows) == 6 / accumulate
    assert watcher.convergence.rows == named(rows)
    assert all(map(torch.equal, net.net.state_dict().values(), twin.state_dict().values()))
    knob = trained.layer_of(net).cell.gain.item()
    assert knob == pytest.approx(rates.knob_by_the_law(solves_a_step=accumulate), rel=1e-5)
    assert knob < 0.6


def test_its_history_has_the_rows_and_the_knob(tmp_path):
    net, watcher = Net(), callback()
    ran = trainer(tmp_path, net, watcher)
    ran.train()
    rows = named(trained.plainly(trained.model(), net.seen, every=4))
    assert watcher.convergence.rows == rows
    told = [entry for entry in ran.state.log_history if "loss" in entry]
    for entry, row in zip(told, rows, strict=True):
        assert entry["step"] == row["step"]
        assert scalars(row).items() <= entry.items()
    gain = trained.layer_of(net).cell.gain.item()
    assert told[-1]["net.1/control/gain"] == gain


@pytest.mark.filterwarnings("ignore:.*Training stops")
def test_a_policy_ends_training(tmp_path):
    watcher = callback(trained.stopping, control=None)
    ran = trainer(tmp_path, Net(gain=3.0), watcher)
    ran.train()
    assert ran.state.global_step == 3
    assert [row["step"] for row in watcher.convergence.rows] == [3]
    assert ran.state.log_history[0]["net.1/train_converged"] < 0.5


def test_a_training_that_goes_on_is_one_that_never_ended(tmp_path):
    log = partial(ConvergenceLog, policy=MoreSteps(), window=3)

    def train(folder, steps, **options):
        net, watcher = Net(gain=0.95), callback(log, control=None)
        trained.layer_of(net).solver = SHORT
        settings = {"max_steps": steps, "save_strategy": "steps", "save_steps": 10}
        trainer(folder, net, watcher, **settings).train(**options)
        return watcher.convergence, net

    whole, net = train(tmp_path / "whole", 22)
    train(tmp_path / "parts", 10)
    parts, again = train(
        tmp_path / "on", 22, resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-10")
    )
    assert (parts.steps, parts.slips) == (whole.steps, whole.slips)
    assert trained.layer_of(again).solver == trained.layer_of(net).solver != SHORT
    assert all(map(torch.equal, again.state_dict().values(), net.state_dict().values()))
    assert parts.rows == whole.rows
    saved = json.loads((tmp_path / "parts" / "checkpoint-10" / "trainer_state.json").read_text())
    assert saved["stateful_callbacks"]["EquilibriumCallback"]["attributes"]["steps"] == 10


def test_a_new_training_starts_a_new_log(tmp_path):
    net, watcher = Net(), callback()
    for _ in range(2):
        trainer(tmp_path, net, watcher, batches=4).train()
        assert watcher.convergence.steps == 4
        assert trained.layer_of(net).observers == []


def test_a_tracker_that_comes_after_it_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from transformers.integrations import TensorBoardCallback

    from tests.integrations.test_trackers import read

    watcher = callback()
    trainer(tmp_path, Net(), watcher, TensorBoardCallback(), batches=8).train()
    (events,) = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
    found = read(events)
    name = "train/net.1/train_converged"
    steps = [(step, value) for step, value in found[name] if step]
    rows = watcher.convergence.rows
    assert steps == [(row["step"], pytest.approx(row["train_converged"])) for row in rows]
