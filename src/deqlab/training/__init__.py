"""Training: one loop, what keeps a DEQ at its equilibrium in it, and how a run goes on."""

from deqlab.training.batches import Batches, Drawn, Replayed, Shuffled
from deqlab.training.checkpoints.checkpoint import Checkpoint
from deqlab.training.checkpoints.random_numbers import RandomNumbers
from deqlab.training.checkpoints.tree import CheckpointError
from deqlab.training.convergence_log import ConvergenceLog
from deqlab.training.early_stop import EarlyStop
from deqlab.training.fit import fit, fit_rows
from deqlab.training.loop import Loop, Step
from deqlab.training.path_independence import PathIndependence, path_independence
from deqlab.training.policies import (
    MoreSteps,
    OffEquilibriumError,
    Policy,
    Raise,
    Shrink,
    Slip,
    Stop,
    Warn,
)
from deqlab.training.rate_control import RateControl
from deqlab.training.warm_starts import WarmStarts

__all__ = [
    "Batches",
    "Checkpoint",
    "CheckpointError",
    "ConvergenceLog",
    "Drawn",
    "EarlyStop",
    "Loop",
    "MoreSteps",
    "OffEquilibriumError",
    "PathIndependence",
    "Policy",
    "Raise",
    "RandomNumbers",
    "RateControl",
    "Replayed",
    "Shrink",
    "Shuffled",
    "Slip",
    "Step",
    "Stop",
    "WarmStarts",
    "Warn",
    "fit",
    "fit_rows",
    "path_independence",
]
