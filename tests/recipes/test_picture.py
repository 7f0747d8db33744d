"""One picture as a function: its pixels, warm starts of one training, and the verdict."""

from dataclasses import replace

import pytest
import torch

from deqlab.costs import num_parameters
from deqlab.experiments.base import PROGRESS
from deqlab.nn.models.twins import step_flops
from deqlab.recipes import RECIPES
from deqlab.recipes.attempt import Attempt
from deqlab.recipes.picture.task import PictureTask
from deqlab.runs.records import Job
from deqlab.training.fit import evaluated

RECIPE = RECIPES["picture"]
SMOKE = RECIPE.presets["smoke"]
SHORT = replace(SMOKE, steps=4, warmup=1, num_evaluations=1)


def network(arm, config=SMOKE):
    torch.manual_seed(0)
    return RECIPE.arms[arm].make(config, None)


def test_the_score_is_of_the_picture_that_is_seen():
    task = PictureTask(SMOKE)

    class Knows(torch.nn.Module):
        """The picture, too dark, and blacker than black where that would be below 0."""

        def forward(self, x):
            grey = task.picture.reshape(-1, 1) - 0.5
            return torch.where(grey < 0, -50.0, 2 * grey - 1)

    seen = (task.picture - 0.5).clamp_min(0)
    assert (seen == 0).any()
    error = (seen - task.picture).square().mean().item()
    row = evaluated(Knows(), task.tested)
    assert row["test_loss"] == pytest.approx(error, rel=1e-5)
    assert row["psnr"] == pytest.approx(-10 * torch.tensor(error).log10().item(), abs=1e-3)
    assert "warm_evaluations" not in row


def test_each_step_starts_where_the_last_visit_of_its_pixels_ended():
    task, model = PictureTask(replace(SHORT, steps=8)), network("deq")  # two epochs
    seen = []

    def spy(rows, own):
        seen.append((rows, of(rows, own)))
        return seen[-1][1]

    batches = task.batches(torch.Generator().manual_seed(0))
    of, task.starts.of = task.starts.of, spy
    ended = {}
    for rows in batches:
        task.loss(model, rows)
        for number, start in zip(rows.tolist(), seen[-1][1], strict=True):
            assert torch.equal(start, ended.get(number, torch.zeros_like(start)))
        _, states = model.with_states(task.x[rows], seen[-1][1])
        ended |= dict(zip(rows.tolist(), states.detach(), strict=True))
    assert len(ended) == len(task.x)
    assert len(batches) == 8


def test_a_deq_with_a_start_of_its_own_keeps_no_states():
    task, model = PictureTask(SHORT), network("deq-cold")
    for rows in task.batches(torch.Generator().manual_seed(0)):
        task.loss(model, rows)
    assert task.starts.state_dict()["states"] is None
    assert "warm_evaluations" not in evaluated(model, task.tested)


def test_warm_starts_save_evaluations_and_change_no_answer():
    task = PictureTask(replace(SMOKE, steps=24, num_evaluations=1))
    attempt = Attempt(network("deq"), task, 1e-3)
    (row,) = attempt.train(Job(arm="deq", seed=0))
    assert row["converged"] == row["train_converged"] == 1
    assert row["warm_evaluations"] < row["test_evaluations"]
    every = torch.arange(len(task.x))
    with torch.no_grad():
        cold, warm = attempt.model(task.x), attempt.model(task.x, task._start(attempt.model, every))
    torch.testing.assert_close(cold, warm, atol=20 * SMOKE.rtol, rtol=0)
    before = task.starts
    task.batches(torch.Generator())
    assert task.starts is not before  # another training begins with none
    assert task.parts["starts"] is task.starts


def test_a_training_that_was_interrupted_goes_on_with_its_states(tmp_path):
    config = replace(SHORT, steps=8, num_evaluations=2)

    def rows(folder, stop=None):
        task = PictureTask(config)
        attempt = Attempt(network("deq", config), task, 1e-3)
        found = []
        for row in attempt.train(Job(arm="deq", seed=0, folder=folder)):
            found.append({k: v for k, v in row.items() if k != "seconds"})
            if len(found) == stop:
                break
        return found

    whole = rows(None)
    from deqlab.training.checkpoints import checkpoint

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "INTERVAL", 0.0)
        patch.setattr(checkpoint.Checkpoint, "due", property(lambda self: self.path is not None))
        rows(tmp_path, stop=1)
        assert (tmp_path / "rate-0.001.safetensors").exists()
        assert rows(tmp_path) == whole


def test_the_deq_has_less_than_a_third_of_the_weights_and_its_twins_what_they_should():
    full = RECIPE.presets["full"]
    ours = num_parameters(network("deq", full))
    assert ours <= 0.3 * num_parameters(network("layers", full))
    assert num_parameters(network("twin-parameters", full)) == pytest.approx(ours, rel=0.05)
    twin = RECIPE.arms["twin-flops"].make(full, None, 1e8)
    x = torch.rand(full.batch_size, 2)
    assert step_flops(twin, lambda: twin(x).mean()) == pytest.approx(1e8, rel=0.03)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"picture": "cats"}, "picture is one of china, flower, camera, dead-leaves; got 'cats'"),
        ({"size": 4}, "size must be at least 8, got 4"),
        ({"scale": 0.0}, "scale must be above 0, got 0.0"),
        ({"rtol": 1.0}, "rtol must lie between 0 and 1, got 1.0"),
        ({"deq_width": 0}, "deq_width must be at least 1, got 0"),
        ({"layers": 1}, "layers must be at least 2, got 1"),
    ],
)
def test_a_config_that_cannot_run_is_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        replace(SMOKE, **settings)


def rows(ours, theirs, *, weights=25, warm=3.0, converged=1.0):
    """Summaries of the DEQ and of the layers in a row, at one seed."""
    deq = {"psnr": ours, "parameters": weights, "converged": converged, "slips": 0}
    deq |= {"test_evaluations": 9.0, "warm_evaluations": warm, "matching": None}
    layers = {"psnr": theirs, "parameters": 100, "matching": None}
    return [
        {"arm": arm, "seed": 0, "kind": "summary", "label": arm, **fields}
        for arm, fields in (("deq", deq), ("layers", layers))
    ]


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (rows(30.0, 30.9), "holds"),
        (rows(30.0, 31.1), "holds partly"),
        (rows(30.0, 30.9, weights=31), "holds partly"),
        (rows(30.0, 30.9, warm=9.0), "holds partly"),
        (rows(20.0, 30.9, warm=9.0), "does not hold here"),
        (rows(30.0, 30.9, converged=0.98), "undecided"),
    ],
)
def test_the_verdict_asks_for_quality_for_weights_and_for_what_warm_starts_save(found, outcome):
    assert RECIPE.judge(SMOKE, found).outcome == outcome


@pytest.mark.slow
def test_a_smoke_run_shows_the_picture_and_what_is_proved():
    job = next(job for job in RECIPE.plan(SMOKE, []) if job.arm == "deq")
    torch.manual_seed(0)
    found = [row for row in RECIPE.run(SMOKE, job) if row["kind"] != PROGRESS]
    shown = {row["shown"]: row["pixels"] for row in found if row["kind"] == "picture"}
    count = f"{num_parameters(network('deq')):,} weights"
    assert list(shown) == ["the picture", f"DEQ, {count}"]
    truth, made = (torch.tensor(pixels) for pixels in shown.values())
    torch.testing.assert_close(truth, PictureTask(SMOKE).picture, atol=6e-4, rtol=0)
    (summary,) = (row for row in found if row["kind"] == "summary")
    assert (made - truth).square().mean().item() == pytest.approx(summary["test_loss"], rel=0.02)
    assert all(row["proved"] == "one fixed point" for row in found if row["kind"] == "certificate")
