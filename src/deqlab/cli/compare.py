"""`deqlab compare`: which model predicts a column of a table best, and whether it is a DEQ."""

import os
from collections.abc import Sequence
from pathlib import Path

import joblib
from sklearn.pipeline import Pipeline

from deqlab.cli.folders import folder_for
from deqlab.cli.session import check_backend, check_config, run_session
from deqlab.experiments.config import UsageError
from deqlab.experiments.tables.compare import experiment_of, standing, winner
from deqlab.experiments.tables.config import config_for, table_of
from deqlab.inputs.table.leaks import warnings_of
from deqlab.runs.opening import check, unwritten

MODEL = "model.joblib"


def compare_on(
    data: str,
    target: str | None,
    *,
    drop: Sequence[str],
    seed: int,
    jobs: int | None,
    out: Path | None,
    command: str,
    max_epochs: int = 150,
) -> Path:
    """Run what is missing in `out`, print the answer, save the advised model, and return `out`.

    Args:
        data: See `inputs.table.frames.read_frame`.
        target: The column that is predicted; None where the data say it.
        drop: Columns that are left out.
        seed: Draws the folds, and all else.
        jobs: Workers; None is one for each core.
        out: The run directory; None is one of runs/ that no other run is in.
        command: What the report shows as the command.
        max_epochs: Of every network.

    Raises:
        DataError: There is no such table or column, or it cannot be understood.
        UsageError: An argument is outside its domain.
        RunError: The directory cannot be used.
    """
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    check_backend("loky", jobs)
    try:
        config = config_for(data, target, drop=tuple(drop), draw=seed, max_epochs=max_epochs)
    except ValueError as error:
        if type(error).__module__.startswith("deqlab."):
            raise
        raise UsageError(str(error)) from error
    experiment = experiment_of(config)
    description = experiment.describe(config, "asked")
    out = out or folder_for("compare", data, description)
    check(out, description)
    check_config(experiment, config)
    print(f"{table_of(config).description}.")
    for sentence in warnings_of(table_of(config)):
        print(f"{sentence}.")
    rows = run_session(
        experiment, config, preset="asked", path=out, command=command, jobs=jobs, backend="loky"
    )
    for sentence in experiment.judge(config, rows).details:
        print(sentence)
    sure = standing(config, rows).advised is not None
    _save(winner(config, rows), out / MODEL, sure=sure)
    return out


def _save(model: Pipeline | None, file: Path, *, sure: bool) -> None:
    if model is None:
        print("No model is saved: none scores higher than a constant.")
        return
    try:
        joblib.dump(model, file)
    except OSError as error:
        raise unwritten(file, error) from error
    which = "the advised model" if sure else "the best model, not shown to beat a constant"
    print(f"{file}: {which}, fitted on all rows; joblib.load(...).predict(frame)")
