"""A run that is there to be killed: `python -m tests.experiments.killed PATH JOBS [SENT]`.

With SENT, a path, it stands still after each checkpoint until there is such a file: whoever kills
it then finds it at work, however fast it is and however busy the machine.
"""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from deqlab.cli.session import run_session
from deqlab.experiments import EXPERIMENTS
from deqlab.training import Checkpoint

EXPERIMENT = EXPERIMENTS["sawtooth-k3"]
CONFIG = replace(EXPERIMENT.presets["smoke"], steps=20, seeds=(0, 1), learning_rates=(1e-2,))

# Here, so that a worker, which imports this module to find `run`, has it as well.
Checkpoint.due = property(lambda checkpoint: checkpoint.path is not None)

SENT = "DEQLAB_TEST_KILLED_SENT"
"""The path, in the environment: workers have it from there."""

save = Checkpoint.save


def save_and_wait(checkpoint, *args, **keywords):
    save(checkpoint, *args, **keywords)
    sent, until = os.environ.get(SENT), time.monotonic() + 120
    while sent and not os.path.exists(sent) and time.monotonic() < until:
        time.sleep(0.01)


Checkpoint.save = save_and_wait


def run(config, job):
    yield from EXPERIMENT.run(config, job)


if __name__ == "__main__":
    # Who runs the tests in the background may have switched it off, for all that comes after.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from tests.experiments import killed

    if len(sys.argv) > 3:
        os.environ[SENT] = sys.argv[3]
    run_session(
        replace(EXPERIMENT, run=killed.run),
        CONFIG,
        preset="smoke",
        path=Path(sys.argv[1]),
        command="killed",
        jobs=int(sys.argv[2]),
        backend="loky",
    )
