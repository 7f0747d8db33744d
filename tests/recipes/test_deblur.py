"""Deblurring: the pictures, the score, what a run says, and the verdict on it."""

from dataclasses import replace

import pytest
import torch

from deqlab.costs import num_parameters
from deqlab.experiments.base import PROGRESS
from deqlab.recipes import RECIPES
from deqlab.recipes.attempt import Attempt
from deqlab.recipes.inverse.task import ReconstructionTask, pictures_of, scored
from deqlab.stability import certify

RECIPE = RECIPES["deblur"]
SMOKE = RECIPE.presets["smoke"]
INPAINTING = RECIPES["inpainting"].presets["smoke"]

every_recipe = pytest.mark.parametrize(
    "recipe", [RECIPE, RECIPES["inpainting"]], ids=["deblur", "inpainting"]
)


def test_the_score_is_in_decibels_of_the_error_of_all_pictures_together():
    x = torch.zeros(2, 1, 4, 4)
    z = torch.stack([torch.full((1, 4, 4), 0.1), torch.full((1, 4, 4), 0.01)])
    score = scored(z, x)
    assert score["test_loss"] == pytest.approx((1e-2 + 1e-4) / 2, rel=1e-6)
    assert score["psnr"] == pytest.approx(22.9671, abs=1e-4)  # 10 log10(200 / 1.01)
    assert scored(x, x)["psnr"] == pytest.approx(120, abs=1e-6)


def test_no_picture_is_in_two_parts_and_noise_is_drawn_anew():
    task = ReconstructionTask(SMOKE)
    y, x = task.test
    blurred = task._measurement(x)
    assert float((y - blurred).std()) == pytest.approx(SMOKE.noise, rel=0.1)
    pictures = pictures_of(SMOKE)
    assert torch.equal(pictures[: SMOKE.test_size], x)
    assert len({tuple(picture.flatten().tolist()) for picture in pictures}) == len(pictures)
    batches = list(task.batches(torch.Generator().manual_seed(0)))
    assert len(batches) == SMOKE.steps
    known = {tuple(picture.flatten().tolist()) for picture in pictures[2 * SMOKE.test_size :]}
    assert all(tuple(p.flatten().tolist()) in known for _, batch in batches for p in batch)


@every_recipe
def test_networks_have_equal_weights_and_those_with_a_cap_one_fixed_point(recipe):
    networks = {}
    for name, arm in recipe.arms.items():
        torch.manual_seed(0)
        networks[name] = arm.make(recipe.presets["smoke"], None)
    assert len({num_parameters(network) for network in networks.values()}) == 1
    for one, other in (("deq", "unrolled"), ("deq-capped", "capped")):
        ours, theirs = networks[one].state_dict(), networks[other].state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name, network in networks.items():
        (proved,) = certify(network).values()
        assert proved.unique == (name != "deq" and not name.startswith("unrolled")), name
        assert network.gradient.seeks_equilibrium == name.startswith("deq")


def test_a_network_without_a_proof_is_held_at_its_equilibrium():
    task = ReconstructionTask(SMOKE)
    for name, arm in RECIPE.arms.items():
        attempt = Attempt(arm.make(SMOKE, None), task, 1e-3, controlled=arm.controlled)
        assert (attempt._control is not None) == (name == "deq"), name


def test_as_many_pixels_as_asked_are_missing_and_always_the_same_ones():
    mask = replace(INPAINTING, missing=0.3).measurement().weights
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert float(mask.mean()) == pytest.approx(0.7, abs=1 / mask.numel())
    assert torch.equal(mask, replace(INPAINTING, missing=0.3).measurement().weights)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"kernel": 13}, "no larger than the picture of 12 pixels, got 13"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"pictures": "cats"}, "pictures"),
        ({"train_size": 0}, "train_size must be 1 or more where pictures are made"),
        ({"cap": 0.0}, "cap must be more than 0"),
    ],
)
def test_a_config_that_cannot_run_is_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        replace(SMOKE, **settings)


def test_an_inpainting_of_nothing_is_refused():
    with pytest.raises(ValueError, match="missing must lie between 0 and 1, got 1"):
        replace(INPAINTING, missing=1.0)


def rows(ours, unrolled, converged=1.0):
    """Rows of two arms at one seed: quality after 10, 20 and 200 iterations."""
    found = []
    for arm, values in (("deq", ours), ("unrolled", unrolled)):
        for count, value in zip((10, 20, 200), values, strict=True):
            row = {"kind": "iterations", "iterations": count, "psnr": value, "solver_psnr": value}
            found.append({"arm": arm, "seed": 0, **row})
        summary = {"kind": "summary", "label": arm, "psnr": values[0], "matching": None}
        if arm == "deq":
            summary |= {"converged": converged, "test_evaluations": 9.0, "slips": 0}
        else:
            summary |= {"matching": "parameters"}
        found.append({"arm": arm, "seed": 0, **summary})
    return found


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (rows((30.0, 30.05, 30.02), (29.9, 29.5, 28.5)), "holds"),
        (rows((30.0, 30.3, 30.02), (29.9, 29.5, 28.5)), "holds partly"),
        (rows((30.0, 30.05, 30.02), (29.9, 29.9, 29.9)), "holds partly"),
        (rows((29.0, 29.3, 29.0), (29.9, 29.9, 29.9)), "does not hold here"),
        (rows((30.0, 30.05, 30.02), (29.9, 29.5, 28.5), converged=0.5), "undecided"),
    ],
)
def test_the_verdict_asks_for_quality_for_its_course_and_for_that_of_the_unrolled(found, outcome):
    verdict = RECIPE.judge(SMOKE, found)
    assert verdict.outcome == outcome


def test_a_network_under_the_cap_of_the_deq_need_not_fall():
    found = rows((30.0, 30.05, 30.02), (29.9, 29.5, 28.5))
    stays = [row for row in rows((0, 0, 0), (29.0, 29.0, 29.0)) if row["arm"] == "unrolled"]
    capped = [{**row, "arm": "capped", "label": "capped", "matching": None} for row in stays]
    verdict = RECIPE.judge(SMOKE, found + capped)
    assert verdict.outcome == "holds"
    assert any("the network capped loses 0.00 dB" in detail for detail in verdict.details)


def test_a_network_whose_pictures_are_no_numbers_has_lost_all():
    found = rows((30.0, 30.05, 30.02), (29.9, 29.5, None))
    verdict = RECIPE.judge(SMOKE, found)
    assert verdict.outcome == "holds"
    assert "unrolled loses 29.90 dB" in verdict.details[-1]


@pytest.mark.slow
@every_recipe
@pytest.mark.parametrize("arm", ["deq", "deq-proximal", "unrolled-gradient"])
def test_a_smoke_run_has_its_rows(recipe, arm):
    config = recipe.presets["smoke"]
    job = next(job for job in recipe.plan(config, []) if job.arm == arm)
    torch.manual_seed(0)
    found = [row for row in recipe.run(config, job) if row["kind"] != PROGRESS]
    counts = [row["iterations"] for row in found if row["kind"] == "iterations"]
    assert counts == list(config.iterations)
    (summary,) = (row for row in found if row["kind"] == "summary")
    (measured,) = (row for row in found if row["kind"] == "measured")
    assert summary["psnr"] > measured["psnr"]
    proved = {row["proved"] for row in found if row["kind"] == "certificate"}
    if arm == "deq-proximal":
        assert proved == {"one fixed point"}
    if arm.startswith("deq"):
        assert summary["converged"] == 1


@pytest.mark.slow
def test_pictures_of_a_run_are_those_of_its_test():
    task = ReconstructionTask(INPAINTING)
    torch.manual_seed(0)
    model = RECIPES["inpainting"].arms["deq"].make(INPAINTING, None)
    shown = {(row["picture"], row["shows"]): row["pixels"] for row in task._shown(model)}
    assert len(shown) == 3 * 3
    y, x = task.test
    with torch.no_grad():
        expected = {"true": x, "measured": y, "restored": model.eval()(y[:3])}
    for name, pictures in expected.items():
        pixels = torch.tensor(shown[2, name])
        torch.testing.assert_close(pixels, pictures[1, 0].clamp(0, 1), rtol=0, atol=6e-4)
