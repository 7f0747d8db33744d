"""`fit` against the same steps written out, and everything that may end it."""

import copy
import io
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from deqlab import DEQ, ConvergenceWarning, Picard
from deqlab.nn import DenseCell
from deqlab.training import (
    Checkpoint,
    ConvergenceLog,
    EarlyStop,
    Loop,
    MoreSteps,
    RateControl,
    Shuffled,
    Stop,
    fit,
    fit_rows,
)
from tests.problems import normal
from tests.training.gated import Gated

BATCHES = [(normal(4, 8, seed=i).float(), normal(4, 2, seed=10 + i).float()) for i in range(6)]


def network(gain=0.5, **settings):
    torch.manual_seed(0)
    solver = Picard(**{"rtol": 1e-4, **settings})
    deq = DEQ(Gated(gain=gain), solver=solver, on_failure="ignore")
    return nn.Sequential(deq, nn.Linear(8, 2))


def loss_of(model):
    return lambda batch: mse_loss(model(batch[0]), batch[1])


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=1e-2)


def run(model, batches=BATCHES, **options):
    options = {"progress": False, "optimizer": adam(model), **options}
    return fit(model, loss_of(model), batches, **options)


def same(model, other):
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


def by_hand(model, batches=BATCHES, clip=None):
    optimizer, losses = adam(model), []
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_of(model)(batch)
        loss.backward()
        if clip is not None:
            norm = torch.stack([p.grad.square().sum() for p in model.parameters()]).sum().sqrt()
            for p in model.parameters():
                p.grad.mul_(min(1.0, clip / (norm.item() + 1e-6)))
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_its_steps_are_those_of_a_plain_loop():
    model, other = network(), network()
    rows = run(model, every=2)
    losses = by_hand(other)
    same(model, other)
    assert [row["step"] for row in rows] == [2, 4, 6]
    means = [(losses[i] + losses[i + 1]) / 2 for i in (0, 2, 4)]
    assert [row["train_loss"] for row in rows] == pytest.approx(means)
    seconds = [row["seconds"] for row in rows]
    assert 0 < seconds[0] < seconds[1] < seconds[2]


def test_gradients_are_clipped_together():
    model, other, free = network(), network(), network()
    run(model, clip=0.05)
    by_hand(other, clip=0.05)
    by_hand(free)
    for p, q, r in zip(model.parameters(), other.parameters(), free.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        assert not torch.equal(p, r)


def test_accumulated_batches_are_one_large_batch():
    model, other = network(), network()
    small = [tuple(part[i : i + 2] for part in batch) for batch in BATCHES for i in (0, 2)]
    rows = run(model, small, accumulate=2)
    losses = by_hand(other)
    assert rows[-1]["step"] == 6
    assert rows[-1]["train_loss"] == pytest.approx(sum(losses) / 6, rel=1e-4)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)


def test_bfloat16_is_for_f_and_states_stay_in_float32():
    model, seen = network(rtol=5e-2), []
    model[0].register_forward_hook(lambda module, x, z: seen.append(z.dtype))
    inside = []
    model[0].cell.register_forward_hook(lambda *_: inside.append(torch.is_autocast_enabled("cpu")))
    rows = run(model, autocast=torch.bfloat16, log=ConvergenceLog(model))
    assert set(seen) == {torch.float32}
    assert rows[-1]["train_converged"] == 1
    assert all(p.dtype == torch.float32 for p in model.parameters())
    exact = network(rtol=5e-2)
    run(exact)
    assert not torch.equal(exact[1].weight, model[1].weight)  # it was another precision
    torch.testing.assert_close(exact[1].weight, model[1].weight, rtol=0.1, atol=0.02)


def test_the_average_of_the_weights_is_what_is_evaluated():
    model, seen = network(), []
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    weights = []

    def evaluate(trained):
        seen.append(copy.deepcopy(trained.module[1].weight.detach()))
        weights.append(model[1].weight.detach().clone())
        return {}

    run(model, average=average, evaluate=evaluate, every=1)
    expected = weights[0]
    for weight in weights[1:]:
        expected = 0.5 * expected + 0.5 * weight
    torch.testing.assert_close(seen[-1], expected)


def test_an_evaluation_is_in_eval_mode_without_a_tape_and_leaves_the_modes():
    model = nn.Sequential(network(), nn.Dropout(0.5))
    model[0].eval()  # stays as it is
    modes = []

    def evaluate(trained):
        modes.append((torch.is_grad_enabled(), [part.training for part in trained.modules()]))
        return {"accuracy": 0.5}

    rows = fit(
        model, lambda b: mse_loss(model(b[0]), b[1]), BATCHES,
        optimizer=adam(model), evaluate=evaluate, progress=False,
    )  # fmt: skip
    assert modes == [(False, [False] * 6)]
    assert rows[-1]["accuracy"] == 0.5
    assert model.training
    assert model[1].training


def test_the_rate_is_controlled_and_logged():
    model = network(0.95)
    control, log = RateControl(model, target=0.3), ConvergenceLog(model)
    rows = run(model, BATCHES * 10, control=control, log=log, every=30)
    assert rows[-1]["rate"] < rows[0]["rate"]
    assert model[0].cell.gain < 0.95
    assert [row["layer"] for row in log.rows] == ["0", "0"]


def test_a_policy_ends_it_and_what_was_trained_is_told():
    model = network(0.95, max_steps=2)
    log = ConvergenceLog(model, policy=Stop(), window=3)
    with pytest.warns(ConvergenceWarning, match="Training stops"):
        rows = run(model, log=log, every=5)
    assert [row["step"] for row in rows] == [3]
    assert rows[0]["train_converged"] < 0.99


def test_it_stops_early_or_after_the_steps_that_were_asked_for():
    asked = []

    def batches():
        for batch in BATCHES * 10:
            asked.append(batch)
            yield batch

    model = network()
    values = iter([3.0, 2.0, 2.5, 2.4, 1.0])
    rows = run(
        model,
        batches(),
        evaluate=lambda _: {"validation_loss": next(values)},
        every=1,
        early_stop=EarlyStop("validation_loss", patience=2),
    )
    assert [row["validation_loss"] for row in rows] == [3.0, 2.0, 2.5, 2.4]
    assert len(asked) == 4
    asked.clear()
    assert [row["step"] for row in run(model, batches(), steps=7, every=3)] == [3, 6, 7]
    assert len(asked) == 7


def test_stopping_by_a_metric_that_is_not_there_names_those_that_are():
    with pytest.raises(KeyError, match="no 'accuracy' to stop by: an evaluation has step, train"):
        run(network(), every=1, early_stop=EarlyStop("accuracy", patience=1))


@pytest.mark.parametrize("higher", [False, True])
def test_nan_is_never_the_best(higher):
    stop = EarlyStop("loss", patience=2, higher=higher)
    assert stop({"loss": float("nan")})
    assert stop({"loss": 1.0})
    assert stop({"loss": float("nan")})
    assert not stop({"loss": float("nan")})
    assert stop.best == 1.0


def test_the_bar_says_how_far_it_is(monkeypatch):
    from rich.console import Console

    from deqlab.training import progress

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    model = network()
    run(model, progress=True, log=ConvergenceLog(model))
    text = out.getvalue()
    for told in ("6/6", "loss ", "evaluations", "rate ", "100 % converged"):
        assert told in text


def test_rows_come_as_they_are_made():
    model, before = network(), network()
    rows = fit_rows(
        model,
        Loop(loss=lambda batch: (loss_of(model)(batch), None), optimizer=adam(model)),
        BATCHES,
        every=2,
        progress=False,
    )
    same(model, before)  # nothing is trained before the first is asked for
    assert next(rows)["step"] == 2
    by_hand(before, BATCHES[:2])
    same(model, before)


def test_what_makes_no_sense_is_refused():
    for options, match in (
        ({"accumulate": 0}, "accumulate"),
        ({"clip": 0.0}, "clip must be more than 0"),
        ({"every": 0}, "every"),
    ):
        with pytest.raises(ValueError, match=match):
            run(network(), **options)


class KilledError(Exception):
    """Stands for the end of the process."""


def resumable(path, model, *, killed_at=None, **options):
    """The rows of a training that keeps a checkpoint after every step, and may be killed."""
    torch.manual_seed(3)
    x, y = torch.randn(20, 8), torch.randn(20, 2)
    generator = torch.Generator().manual_seed(4)
    batches = Shuffled(20, 4, epochs=3, generator=generator, take=lambda i: (x[i], y[i]))
    loop = Loop(loss=lambda batch: (loss_of(model)(batch), None), optimizer=adam(model))
    log = ConvergenceLog(model, policy=MoreSteps(), window=2)
    parts = {"model": model, **loop.parts, "batches": batches, "log": log}
    rows = []
    with Checkpoint(path, parts, every=0.0) as checkpoint:
        for row in fit_rows(
            model,
            loop,
            batches,
            control=RateControl(model, target=0.3),
            log=log,
            every=4,
            checkpoint=checkpoint,
            progress=False,
            **options,
        ):
            rows.append(row)
            if killed_at == row["step"]:
                raise KilledError
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows], log


@pytest.mark.parametrize("killed_at", [4, 8, 12, 15])
def test_a_training_that_was_killed_ends_with_the_same_bits(tmp_path, killed_at):
    path = tmp_path / "run.safetensors"
    whole = network(0.95, max_steps=3)
    expected, told = resumable(None, whole)
    with pytest.raises(KilledError):
        resumable(path, network(0.95, max_steps=3), killed_at=killed_at)
    again = network(0.95, max_steps=3)
    found, log = resumable(path, again)
    assert found == expected
    assert [row["step"] for row in found] == [4, 8, 12, 15]
    same(again, whole)
    assert torch.equal(again[0].cell.gain, whole[0].cell.gain)
    assert log.rows == told.rows
    assert log.slips == told.slips
    assert again[0].solver == whole[0].solver  # the policy has raised its limit before
    assert again[0].solver.max_steps > 3


def test_a_training_that_stopped_early_stays_stopped(tmp_path):
    path, model = tmp_path / "run.safetensors", network()
    stop = EarlyStop("train_loss", patience=1, higher=True)
    first, _ = resumable(path, model, early_stop=stop)
    weights = copy.deepcopy(model.state_dict())
    stop = EarlyStop("train_loss", patience=1, higher=True)
    again, _ = resumable(path, model, early_stop=stop)
    assert again == first
    assert len(first) < 4
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_the_log_of_another_model_is_refused():
    state = ConvergenceLog(network()).state_dict()
    with pytest.raises(ValueError, match=r"layers \['0'\], and the model has \[''\]"):
        ConvergenceLog(network()[0]).load_state_dict(state)


def test_a_loss_that_is_not_finite_is_said_once():
    model = network()
    batches = [(x, y * (torch.nan if i in (2, 4) else 1)) for i, (x, y) in enumerate(BATCHES)]
    with pytest.warns(UserWarning, match="the loss is nan at step 3, .* learning rate") as caught:
        run(model, batches, every=1)
    assert len(caught) == 1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"batches": []}, ValueError, "batches held not one step, and nothing was trained"),
        ({"batches": iter(())}, ValueError, "or the iterator used up"),
        ({"accumulate": 7}, ValueError, "batches held not one step"),
        ({"loss": 0.0}, TypeError, "loss must be a function, such as lambda batch"),
        ({"loss": lambda batch: 0}, TypeError, "loss must return a tensor, got 0"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be a Optimizer, such as torch.optim"),
        (
            {"optimizer": torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)},
            ValueError,
            "optimizer holds no parameter of the model",
        ),
        ({"evaluate": lambda model: 3.0}, TypeError, "evaluate must return a dict of metrics"),
    ],
)
def test_what_cannot_train_is_refused_in_a_sentence(arguments, error, sentence):
    model = network()
    usual = {"loss": loss_of(model), "batches": BATCHES}
    usual["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(error, match=sentence):
        fit(model, progress=False, **usual | arguments)


def test_a_network_off_its_equilibrium_is_said_once_and_counted_at_the_end():
    torch.manual_seed(0)
    # Its solves end in several ways: too few steps, growing residuals, and those that stagnate.
    model = DEQ(DenseCell(2, 8, gain=4.0), solver=Picard(max_steps=12), name="core")
    x, seen = torch.randn(16, 2), []
    model.observers.append(lambda solve: seen.append(bool(solve.converged.all())))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log = ConvergenceLog(model, window=100)
        fit(
            model,
            lambda x: model(x).square().mean(),
            [x] * 30,
            optimizer=optimizer,
            log=log,
            progress=False,
        )
    said = [str(each.message) for each in caught]
    forward = [text for text in said if text.startswith("core: samples missed the tolerance, ")]
    missed = seen.count(False)
    assert missed > 1
    assert len(forward) == 1
    assert said[-1] == (
        f"core: samples missed the tolerance in {missed} of 30 steps of training; the rows of the "
        "log say how many, and by how much."
    )
    with pytest.warns(ConvergenceWarning, match="samples missed the tolerance"):
        model.eval()(x)  # what is not trained is not the log's to speak of
    model.train()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(30):  # nobody asks the log any more
            model(x)
    assert caught
