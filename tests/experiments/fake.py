"""An experiment without training: two arms, three seeds, rows that depend on the seed only."""

from dataclasses import dataclass

import torch

from deqlab.experiments.base import PROGRESS, Experiment, Job, Verdict
from deqlab.experiments.config import Config
from deqlab.experiments.page import Chart, Page
from deqlab.experiments.runner import Part, run_parts


@dataclass(frozen=True, kw_only=True)
class FakeConfig(Config):
    size: int = 3


def plan(config, rows):
    arms = ["first"]
    if sum(row["arm"] == "first" and row["kind"] == "summary" for row in rows) == len(config.seeds):
        arms.append("second")  # planned from what the first arm left
    return [Job(arm=arm, seed=seed) for arm in arms for seed in config.seeds]


def run(config, job):
    for step in range(config.size):
        yield {"kind": PROGRESS, "step": step}
        yield {"kind": "step", "step": step, "value": torch.rand(()).item()}
    yield {"kind": "summary", "label": job.arm, "matching": None, "value": float("nan")}


def judge(config, rows):
    return Verdict(outcome="holds", sentence=f"{len(rows)} rows.")


EXPERIMENT = Experiment(
    name="fake",
    title="Fake",
    claim="Runs can be resumed.",
    source="deqlab",
    origin="asked",
    presets={"quick": FakeConfig()},
    page=Page(
        charts=(
            Chart(
                title="t", caption="c", rows="step", x="step", y="value", x_label="x", y_label="y"
            ),
        ),
        tables=(),
    ),
    plan=plan,
    run=run,
    judge=judge,
)


def run_jobs(experiment, config, run, **options):
    """Run what is missing of one experiment, and return its verdict."""
    (verdict,) = run_parts([Part(experiment=experiment, config=config, run=run)], **options)
    return verdict
