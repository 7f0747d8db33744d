"""The experiment: jobs that follow from one another, and rows that say what was done."""

from dataclasses import replace

import pytest
import torch

from deqlab.experiments.base import Job
from deqlab.experiments.config import UsageError
from deqlab.experiments.saliency import rows, saliency
from deqlab.experiments.saliency.saliency import EXPERIMENT, SaliencyConfig
from deqlab.tasks import DataError, load
from deqlab.tasks.files.sets.cifar10 import CLASSES

SMOKE = replace(EXPERIMENT.presets["smoke"], resnet_epochs=3)


@pytest.fixture(autouse=True, scope="module")
def _few_images():
    """All that takes time is the number of images."""
    full = load("digits")
    few = replace(
        full,
        x_train=full.x_train[:128],
        y_train=full.y_train[:128],
        x_test=full.x_test[:50],
        y_test=full.y_test[:50],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saliency, "load", lambda name: few if name == "digits" else load(name))
        saliency.read.cache_clear()
        yield
    saliency.read.cache_clear()


def job_rows(job, config=SMOKE):
    torch.manual_seed(job.seed)
    return list(EXPERIMENT.run(config, job))


def of_kind(found, kind):
    return [row for row in found if row["kind"] == kind]


@pytest.fixture(scope="module")
def resnet_rows():
    pytest.importorskip("captum")
    torch.manual_seed(0)
    # No epoch is nearer to no right answer at all than the worst one.
    return job_rows(Job(arm="resnet", seed=0, settings={"target": 0.0}))


def test_the_residual_network_is_planned_when_its_deq_is_done():
    config = replace(SMOKE, seeds=(3, 5))
    assert EXPERIMENT.plan(config, []) == [Job(arm="deq", seed=3), Job(arm="deq", seed=5)]
    done = {"kind": "summary", "arm": "deq", "seed": 5, "test_accuracy": 0.4}
    *_, last = EXPERIMENT.plan(config, [done])
    assert last == Job(arm="resnet", seed=5, settings={"target": 0.4})
    other = {**done, "arm": "resnet"}
    assert len(EXPERIMENT.plan(config, [done, other])) == 3


def test_the_residual_network_is_taken_at_the_epoch_nearest_to_the_target(resnet_rows):
    steps, last = of_kind(resnet_rows, "step"), resnet_rows[-1]
    worst = min(row["test_accuracy"] for row in steps)
    epoch = max(row["epoch"] for row in steps if row["test_accuracy"] == worst)
    assert last["kind"] == "summary"
    assert (last["test_accuracy"], last["epoch"]) == (worst, epoch)
    assert epoch < 3, "choose another seed: the last epoch shows nothing"
    maps = {row["taken"]: row for row in of_kind(resnet_rows, "maps")}
    assert {taken: row["epoch"] for taken, row in maps.items()} == {
        "untrained": 0,
        "matched": epoch,
        "last epoch": 3,
    }
    # And the weights are those of that epoch: its accuracy on the images of the maps shows.
    spread = {row["taken"]: row for row in of_kind(resnet_rows, "spread")}
    assert spread["matched"]["test_accuracy"] == worst
    assert maps["matched"]["entropy"] != maps["last epoch"]["entropy"]


def test_every_image_has_its_numbers(resnet_rows):
    (matched,) = (row for row in of_kind(resnet_rows, "maps") if row["taken"] == "matched")
    for name in ("entropy", "area", "density", "correct"):
        assert len(matched[name]) == SMOKE.num_images
    (spread,) = (row for row in of_kind(resnet_rows, "spread") if row["taken"] == "matched")
    kept = [value for value in matched["entropy"] if value is not None]
    assert spread["entropy"] == pytest.approx(sum(kept) / len(kept), abs=1e-6)
    assert spread["empty"] == pytest.approx(1 - len(kept) / SMOKE.num_images, abs=1e-12)


def test_a_deq_says_how_well_it_was_solved_and_shows_the_pictures():
    pytest.importorskip("captum")
    found = job_rows(Job(arm="deq", seed=0))
    last = found[-1]
    assert last["matching"] is None
    assert last["target"] == last["test_accuracy"]
    assert last["converged"] >= 0.99
    assert last["residual"] <= last["residual_max"] <= 2e-3
    images = of_kind(found, "image")
    assert [(row["picture"], row["column"]) for row in images] == [
        (f"class {label}, no. 1", column)
        for label in (7, 5)
        for column in ("picture", "Multiscale DEQ")
    ]
    data = saliency.read("digits")
    first = data.x_test[data.y_test == 7][0].view(8, 8) * data.std + data.mean
    torch.testing.assert_close(torch.tensor(images[0]["pixels"]), first, rtol=0, atol=1e-3)
    assert max(map(max, images[1]["pixels"])) == 1.0
    assert min(map(min, images[1]["pixels"])) >= 0.0


def test_pictures_are_those_of_the_first_seed():
    pytest.importorskip("captum")
    config = replace(SMOKE, seeds=(4, 0), resnet_epochs=1)
    for seed, count in ((0, 0), (4, 2)):
        job = Job(arm="resnet", seed=seed, settings={"target": 0.5})
        assert len(of_kind(job_rows(job, config), "image")) == count


def test_a_job_yields_the_same_rows_twice():
    pytest.importorskip("captum")
    job = Job(arm="resnet", seed=1, settings={"target": 0.5})
    config = replace(SMOKE, resnet_epochs=1)
    first, second = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in job_rows(job, config)]
        for _ in range(2)
    )
    assert first == second


def test_without_captum_the_sentence_names_the_extra(monkeypatch):
    monkeypatch.setattr(saliency, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package captum.*deqlab\[saliency\]"):
        EXPERIMENT.check(SMOKE)


def test_absent_data_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(saliency, "find_spec", lambda name: "here")
    monkeypatch.setenv("DEQLAB_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    saliency.read.cache_clear()
    with pytest.raises(DataError, match="cifar10 is not on this machine"):
        EXPERIMENT.check(SaliencyConfig())


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"channels": (16,)}, r"channels needs two multiples of 4, got \[16\]"),
        ({"channels": (16, 6)}, r"got \[16, 6\]"),
        ({"shown": (10,)}, r"shown are classes 0 to 9, got \[10\]"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"dataset": "cifar"}, "dataset is one of digits"),
        ({"rtol": 0.0}, "rtol must be above 0"),
    ],
)
def test_a_field_outside_its_domain_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        SaliencyConfig(**fields)


def test_the_classes_of_the_figure_are_horses_and_dogs():
    data = replace(saliency.read("digits"), class_names=CLASSES)
    for label, name in zip(SaliencyConfig().shown, ("horse", "dog"), strict=True):
        places = (data.y_test == label).nonzero()[:2, 0]
        assert [row["picture"] for row in rows.photos(data, places)] == [f"{name} 1", f"{name} 2"]


def test_colour_pictures_have_their_channels_last():
    digits = saliency.read("digits")
    x, y = torch.arange(2 * 3 * 4).view(2, 12) / 24, torch.zeros(2, dtype=torch.int64)
    data = replace(digits, x_train=x, y_train=y, x_test=x, y_test=y, shape=(3, 2, 2))
    data = replace(data, mean=0.1, std=0.5)
    (_, row) = rows.photos(data, torch.tensor([0, 1]))
    assert row["pixels"][1][0] == pytest.approx(
        [0.1 + 0.5 * (14 + 4 * k) / 24 for k in range(3)], abs=6e-4
    )
