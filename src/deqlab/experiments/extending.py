"""More seeds for a run that has some: what it has stays, if it would be the same from the start."""

import shutil
from dataclasses import replace

from deqlab.experiments.base import Experiment
from deqlab.experiments.config import ConfigT
from deqlab.runs.jobs import Key
from deqlab.runs.records import Job
from deqlab.runs.rundir import RunDirectory


def take_seeds(experiment: Experiment[ConfigT], config: ConfigT, run: RunDirectory) -> None:
    """Let a run have the seeds of `config`, which begin with those that it has.

    Jobs that are planned from nothing but the config stay as they are. Others were planned from
    what finished jobs left, an arm of equal FLOPs for instance: their rows stand aside until they
    are planned again, and count if their settings are the same. So the rows are those of a run that
    had all seeds from the start.

    Args:
        experiment: What runs.
        config: Its settings.
        run: The open run directory.

    Raises:
        RunError: The disk is full, or fails.
    """
    if not run.seeds or run.seeds == config.seeds:
        return
    had = _settings(experiment.plan(replace(config, seeds=run.seeds), run.rows))
    first = _settings(experiment.plan(config, []))
    later = {key: of for key, of in had.items() if key not in first or first[key] != of}
    for arm, seed in later.keys() - run.done:  # checkpoints, of networks that may be others now
        folder = run.folder(Job(arm=arm, seed=seed))
        if run.aside(Job(arm=arm, seed=seed, settings=later[arm, seed])) is None:
            shutil.rmtree(folder, ignore_errors=True)
    aside = {key: of for key, of in later.items() if key in run.done}
    added = ", ".join(map(str, config.seeds[len(run.seeds) :]))
    run.notes.append(f"{run.path}: seeds {added} are added to those that it has.")
    if aside:
        run.notes.append(
            f"{run.path}: {len(aside)} jobs were planned from what all seeds measured, and run "
            "again where that changes."
        )
    run.take_seeds(aside)


def _settings(plan: list[Job]) -> dict[Key, dict[str, object]]:
    return {(job.arm, job.seed): dict(job.settings) for job in plan}
