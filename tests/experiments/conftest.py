import pytest

from deqlab.experiments.running.rundir import RunDirectory
from deqlab.experiments.running.runner import run_jobs
from tests.experiments.fake import EXPERIMENT, FakeConfig


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
