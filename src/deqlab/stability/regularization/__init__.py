"""Terms of a training loss that keep the Jacobian at the equilibrium small."""

from deqlab.stability.regularization.base import Regularizer
from deqlab.stability.regularization.denoising import DenoisingEnergy
from deqlab.stability.regularization.frobenius import FiniteDifferences, Hutchinson
from deqlab.stability.regularization.penalty import Penalty
from deqlab.stability.regularization.radius import RadiusLoss

__all__ = [
    "DenoisingEnergy",
    "FiniteDifferences",
    "Hutchinson",
    "Penalty",
    "RadiusLoss",
    "Regularizer",
]
