"""A run that goes on from a checkpoint is, to the last bit, the run that nobody interrupted."""

import random
import time
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.kills import rounds, same
from deqlab.nn import DEQ, DenseCell, SpectralNorm
from deqlab.solvers import Anderson
from deqlab.training import Checkpoint, CheckpointError, Loop, RandomNumbers, Shuffled
from deqlab.training.checkpoints import checkpoint as checkpoints

STEPS = 9
X = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
Y = X.square().sum(dim=1, keepdim=True)


def network(*, deq):
    layer = nn.Linear(4, 6)
    if deq:
        layer = DEQ(DenseCell(4, 6, constraint=SpectralNorm(0.9)), solver=Anderson(rtol=1e-4))
    model = nn.Sequential(nn.Dropout(0.2), layer, nn.BatchNorm1d(6), nn.Linear(6, 2))
    model[3].extra = model[3].weight  # tied
    return model


class Run:
    """A training in which there is much to forget."""

    def __init__(self, optimizer, schedule, deq):
        torch.manual_seed(0)
        order = torch.Generator().manual_seed(2)
        self.model = network(deq=deq)
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        batches = Shuffled(12, 4, epochs=3, generator=order, take=lambda i: (X[i], Y[i]))
        steps = optimizer(self.model.parameters())
        self.loop = Loop(loss=self.loss, optimizer=steps, schedule=schedule(steps))
        self.batches = batches
        parts = {"model": self.model, "ema": self.ema, **self.loop.parts, "batches": batches}
        self.parts = {**parts, "random": RandomNumbers(order=order)}
        np.random.seed(3)

    def loss(self, batch):
        x, y = batch
        # (Not Python's own numbers, of which the run-time checks of types draw some.)
        noise = torch.tensor(np.random.rand())
        return mse_loss(self.model(x) * (1 + 0.1 * noise), y.expand(-1, 2)), None

    def to(self, end, path=None, *, save_at=()):
        """The losses up to a step."""
        with Checkpoint(path, self.parts) as checkpoint:
            progress = checkpoint.load() or {"step": 0, "losses": []}
            for step in self.loop.run(self.batches, taken=progress["step"]):
                self.ema.update_parameters(self.model)
                progress["step"] = step.index
                progress["losses"].append(step.loss.item())
                if step.index in save_at:
                    checkpoint.save(progress)
                if step.index == end:
                    break
        return progress["losses"]

    def state(self):
        states = {name: part.state_dict() for name, part in self.parts.items()}
        states["random"].pop("python")
        return states


SGD = partial(torch.optim.SGD, lr=1e-2, momentum=0.9, nesterov=True)
ADAMW = partial(torch.optim.AdamW, lr=1e-2, amsgrad=True)
OPTIMISERS = {
    "sgd": SGD,
    "adamw": ADAMW,
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-3, momentum=0.5, centered=True),
    # A schedule writes to the tensor: each run has its own.
    "tensor rate": lambda parameters: torch.optim.Adam(parameters, lr=torch.tensor(1e-2)),
    "numpy rate": partial(torch.optim.Adam, lr=np.float64(1e-2)),
}
SCHEDULES = {
    "cycle": partial(schedules.OneCycleLR, max_lr=1e-2, total_steps=STEPS),
    "steps": partial(schedules.MultiStepLR, milestones=[2, 4, 4, 7]),
    "warm-up": lambda steps: schedules.SequentialLR(
        steps,
        [schedules.LinearLR(steps, 0.1, total_iters=3), schedules.CosineAnnealingLR(steps, 6)],
        milestones=[3],
    ),
}


def check_resumed(path, stop, optimizer="adamw", schedule="cycle", *, deq):
    run = partial(Run, OPTIMISERS[optimizer], SCHEDULES[schedule], deq)
    whole = run()
    losses = whole.to(STEPS)
    # Two steps are taken after the checkpoint, and lost.
    run().to(stop + 2, path, save_at={stop})
    resumed = run()
    assert resumed.to(STEPS, path) == losses
    assert same(resumed.state(), whole.state())


@pytest.mark.parametrize("stop", [3, 5, STEPS])
def test_losses_and_weights_are_those_of_a_run_that_was_not_interrupted(tmp_path, stop):
    check_resumed(tmp_path / "run", stop, deq=False)


@pytest.mark.slow
@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_so_they_are_of_a_deq_wherever_it_was_stopped(tmp_path, stop):
    check_resumed(tmp_path / "run", stop, deq=True)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMISERS)
def test_so_they_are_with_every_optimiser_and_schedule(tmp_path, optimizer, schedule):
    check_resumed(tmp_path / "run", 5, optimizer, schedule, deq=False)


@pytest.mark.slow
def test_twenty_runs_that_are_killed_end_with_the_weights_of_one_that_is_not(tmp_path):
    rows = rounds(20, tmp_path, seed=1)
    assert all(row["same"] for row in rows)
    assert sum(row["step"] > 0 and not row["ended_before"] for row in rows) >= 5


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "run.safetensors"


def saved(path, parts):
    with Checkpoint(path, parts) as checkpoint:
        checkpoint.save({"step": 1})


OTHERS = {
    "names": (nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)), r"has no '2\.weight'"),
    "shapes": (nn.Sequential(nn.Linear(3, 4)), r"'0.weight' is \(2, 3\) float32 there and \(4, 3"),
    "dtypes": (nn.Sequential(nn.Linear(3, 2)).double(), r"\(2, 3\) float32 there and .* float64"),
    "more": (nn.Sequential(nn.Linear(3, 2, bias=False)), "has '0.bias', which this one has not"),
    "class": (RandomNumbers(), "its model is a module, and here it is a RandomNumbers"),
}


@pytest.mark.parametrize(("other", "why"), OTHERS.values(), ids=OTHERS)
def test_another_model_is_refused_and_nothing_is_changed(path, other, why):
    saved(path, {"model": nn.Sequential(nn.Linear(3, 2))})
    before = [p.clone() for p in other.parameters()] if isinstance(other, nn.Module) else []
    with (
        Checkpoint(path, {"model": other}) as checkpoint,
        pytest.raises(CheckpointError, match=f"run.safetensors is of another (model|run): .*{why}"),
    ):
        checkpoint.load()
    if before:
        assert all(torch.equal(p, q) for p, q in zip(other.parameters(), before, strict=True))


def test_another_optimiser_is_refused_before_the_model_is_set(path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    saved(path, {"model": model, "optimizer": SGD(model.parameters())})
    before = other.weight.clone()
    groups = [{"params": [other.weight]}, {"params": [other.bias]}]
    for optimizer, why in (
        (ADAMW(other.parameters()), "its optimizer is a SGD, and here it is a AdamW"),
        (SGD(groups), r"its groups have \[2\] parameters, and here \[1, 1\]"),
    ):
        with (
            Checkpoint(path, {"model": other, "optimizer": optimizer}) as checkpoint,
            pytest.raises(CheckpointError, match=why),
        ):
            checkpoint.load()
    assert torch.equal(other.weight, before)


def test_other_parts_are_refused(path):
    saved(path, {"model": nn.Linear(3, 2)})
    with (
        Checkpoint(path, {"model": nn.Linear(3, 2), "ema": nn.Linear(3, 2)}) as checkpoint,
        pytest.raises(CheckpointError, match="holds model, and this run is made of ema, model"),
    ):
        checkpoint.load()


def test_generators_of_other_names_are_refused(path):
    saved(path, {"random": RandomNumbers(order=torch.Generator())})
    with (
        Checkpoint(path, {"random": RandomNumbers()}) as checkpoint,
        pytest.raises(CheckpointError, match=r"has the generators \['order'\], and this run has"),
    ):
        checkpoint.load()


def test_generators_of_every_kind_go_on():
    kinds = {"a": torch.Generator(), "b": np.random.default_rng(0), "c": random.Random(0)}
    mt = np.random.Generator(np.random.MT19937(0))
    numbers = RandomNumbers(**kinds, d=mt)
    draw = lambda: (  # noqa: E731
        torch.rand(1, generator=kinds["a"]).item(),
        kinds["b"].random(),
        kinds["c"].gauss(0, 1),
        mt.normal(),
        torch.randn(1).item(),
        np.random.randn(),
        random.gauss(0, 1),
    )
    draw()  # a pair of normal numbers is half used up
    state, first = numbers.state_dict(), draw()
    draw()
    numbers.load_state_dict(state)
    assert draw() == first


def test_a_checkpoint_has_one_writer_at_a_time(path, monkeypatch):
    monkeypatch.setattr(checkpoints, "PATIENCE", 0.1)
    model = nn.Linear(1, 1)
    with Checkpoint(path, {"model": model}) as first:
        first.save({"step": 1})
        other = Checkpoint(path, {"model": model})
        for use in (lambda: other.save({"step": 2}), other.load, other.remove):
            with pytest.raises(CheckpointError, match="is in use by another process; wait"):
                use()
    assert other.load() == {"step": 1}
    other.remove()
    other.close()
    assert not path.exists()


def test_without_a_path_nothing_is_kept():
    checkpoint = Checkpoint(None, {"model": nn.Linear(1, 1)}, every=0.0)
    checkpoint.save({"step": 1})
    assert checkpoint.load() is None
    assert not checkpoint.due
    checkpoint.remove()


def test_where_there_is_no_file_a_run_begins(path):
    with Checkpoint(path, {}) as checkpoint:
        assert checkpoint.load() is None


def test_it_is_due_after_the_interval_and_never_takes_more_than_its_share(path, monkeypatch):
    now = Counter()
    monkeypatch.setattr(time, "monotonic", lambda: float(now["seconds"]))
    with Checkpoint(path, {}, every=30.0) as checkpoint:
        assert not checkpoint.due
        now["seconds"] = 30
        assert checkpoint.due
        real = checkpoints.write
        slow = lambda *args: (now.update(seconds=3), real(*args))  # noqa: E731
        monkeypatch.setattr(checkpoints, "write", slow)
        checkpoint.save({"step": 1})
        now["seconds"] += 149
        assert not checkpoint.due
        now["seconds"] += 1  # 3 seconds are 2 % of 150
        assert checkpoint.due
    with pytest.raises(ValueError, match=r"every is the seconds .*, 0 or more, got -1"):
        Checkpoint(path, {}, every=-1.0)
