"""What gradient flow makes of a diagonal linear DEQ: exact limits, and how dense they are.

parametrisations -> flow (integrated), potentials -> minimum (predicted), diagonal (as a module)
"""

from deqlab.bias.density import participation_ratio
from deqlab.bias.diagonal import DiagonalCell, DiagonalDEQ
from deqlab.bias.flow import Flow, FlowError, gradient_flow
from deqlab.bias.minimum import Minimum, NoFitError, closest_fit, kkt_residual
from deqlab.bias.parametrisations import Gated, Linear, Parametrisation, Product, Recurrent
from deqlab.bias.potentials import (
    Arctangent,
    Entropy,
    HyperbolicEntropy,
    InverseSquare,
    Potential,
    Quadratic,
    bregman,
)

__all__ = [
    "Arctangent",
    "DiagonalCell",
    "DiagonalDEQ",
    "Entropy",
    "Flow",
    "FlowError",
    "Gated",
    "HyperbolicEntropy",
    "InverseSquare",
    "Linear",
    "Minimum",
    "NoFitError",
    "Parametrisation",
    "Potential",
    "Product",
    "Quadratic",
    "Recurrent",
    "bregman",
    "closest_fit",
    "gradient_flow",
    "kkt_residual",
    "participation_ratio",
]
