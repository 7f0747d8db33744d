from dataclasses import replace

import pytest

from deqlab.experiments.comparing import regression
from deqlab.runs.rundir import RunDirectory
from tests.experiments.fake import EXPERIMENT, FakeConfig, run_jobs


@pytest.fixture
def description():
    return EXPERIMENT.describe(FakeConfig(), "quick")


@pytest.fixture
def start(description):
    """Open a run directory, run the fake experiment in it, and close it whatever happens."""

    def start(path, **options):
        directory = RunDirectory.open(path, description)
        try:
            return directory, run_jobs(EXPERIMENT, FakeConfig(), directory, **options)
        finally:
            directory.close()

    return start


@pytest.fixture
def training_of(monkeypatch):
    """How the first arm of an experiment on a regression task is trained and tested."""

    def training_of(experiment, config, *, seed=0):
        found = []

        def keep(build, training, job):
            found.append(training)
            return iter(())

        with monkeypatch.context() as patch:
            patch.setattr(regression, "train", keep)
            job = experiment.plan(config, [])[0]
            assert list(experiment.run(config, replace(job, seed=seed))) == []
        (training,) = found
        return training

    return training_of
