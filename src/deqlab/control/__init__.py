"""Control: regulators, predictive control, decision processes, contracting recurrent networks."""

from deqlab.control.box_qp import BoxQPCell, box_qp
from deqlab.control.contraction import contraction
from deqlab.control.markov import Values, policy_evaluation, value_iteration
from deqlab.control.mpc import Condensed, Plan, box_mpc, condense
from deqlab.control.mpc_layer import MPCLayer
from deqlab.control.recurrent import RENCell
from deqlab.control.regulator_layer import RegulatorLayer, RiccatiCell
from deqlab.control.ren import REN
from deqlab.control.riccati import Regulator, lqr

__all__ = [
    "REN",
    "BoxQPCell",
    "Condensed",
    "MPCLayer",
    "Plan",
    "RENCell",
    "Regulator",
    "RegulatorLayer",
    "RiccatiCell",
    "Values",
    "box_mpc",
    "box_qp",
    "condense",
    "contraction",
    "lqr",
    "policy_evaluation",
    "value_iteration",
]
