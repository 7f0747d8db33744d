"""Training: one loop, what keeps a DEQ at its equilibrium in it, and what its solves tell."""

from deqlab.training.convergence_log import ConvergenceLog
from deqlab.training.early_stop import EarlyStop
from deqlab.training.fit import fit, fit_rows
from deqlab.training.loop import Loop, Step
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

__all__ = [
    "ConvergenceLog",
    "EarlyStop",
    "Loop",
    "MoreSteps",
    "OffEquilibriumError",
    "Policy",
    "Raise",
    "RateControl",
    "Shrink",
    "Slip",
    "Step",
    "Stop",
    "Warn",
    "fit",
    "fit_rows",
]
