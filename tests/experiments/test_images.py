"""The DEQ learns real images, and is at its equilibrium when it is judged."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deqlab.experiments.base import Job
from deqlab.experiments.images import EXPERIMENT, ImagesConfig
from deqlab.tasks import DataError

DEQ = Job(arm="deq", seed=0, settings={"family": "deq", "label": "DEQ", "matching": None})


def summary(config):
    torch.manual_seed(DEQ.seed)
    *_, last = EXPERIMENT.run(config, DEQ)
    return last


def test_a_job_yields_the_same_rows_twice():
    config = EXPERIMENT.presets["smoke"]

    def rows():
        torch.manual_seed(DEQ.seed)
        return [
            {k: v for k, v in row.items() if k != "seconds"} for row in EXPERIMENT.run(config, DEQ)
        ]

    assert rows() == rows()


def test_rows_hold_all_that_a_comparison_needs():
    last = summary(EXPERIMENT.presets["smoke"])
    fields = (
        "train_loss test_loss test_accuracy evaluations adjoint_products residual converged "
        "seconds peak_memory_bytes parameters flops_per_step label matching"
    )
    assert set(fields.split()) <= last.keys()
    assert last["kind"] == "summary"
    assert last["adjoint_products"] >= 1


@pytest.mark.slow
def test_digits_reach_97_percent_at_equilibrium():
    last = summary(EXPERIMENT.presets["quick"])
    assert last["test_accuracy"] >= 0.97
    assert last["converged"] >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "accuracy"), [("mnist", 0.975), ("fashion_mnist", 0.87)])
def test_full_sized_images_reach_their_accuracy(dataset, accuracy, monkeypatch):
    shared = Path(__file__).parents[3] / "shared" / "data"
    if not os.environ.get("DEQLAB_DATA"):
        if not shared.is_dir():
            pytest.skip(f"{dataset} is not here: set DEQLAB_DATA to a folder that holds it")
        monkeypatch.setenv("DEQLAB_DATA", str(shared))
    last = summary(replace(EXPERIMENT.presets["mnist"], dataset=dataset))
    assert last["test_accuracy"] >= accuracy
    assert last["converged"] >= 0.99


def test_absent_data_is_one_sentence_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setenv("DEQLAB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere"):
        EXPERIMENT.check(ImagesConfig(dataset="mnist"))
