"""A run that is there to be killed: `python -m tests.experiments.killed PATH JOBS`."""

import sys
from dataclasses import replace
from pathlib import Path

from deqlab.cli.session import run_session
from deqlab.experiments import EXPERIMENTS
from deqlab.training import Checkpoint

EXPERIMENT = EXPERIMENTS["sawtooth-k3"]
CONFIG = replace(EXPERIMENT.presets["smoke"], steps=20, seeds=(0, 1), learning_rates=(1e-2,))

# Here, so that a worker, which imports this module to find `run`, has it as well.
Checkpoint.due = property(lambda checkpoint: checkpoint.path is not None)


def run(config, job):
    yield from EXPERIMENT.run(config, job)


if __name__ == "__main__":
    from tests.experiments import killed

    run_session(
        replace(EXPERIMENT, run=killed.run),
        CONFIG,
        preset="smoke",
        path=Path(sys.argv[1]),
        command="killed",
        jobs=int(sys.argv[2]),
        backend="loky",
    )
