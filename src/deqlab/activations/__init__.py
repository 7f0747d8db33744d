"""Activations that know their Gaussian duals and moments."""

from deqlab.activations.base import Activation, Shifted
from deqlab.activations.callable import from_callable
from deqlab.activations.elu import ELU
from deqlab.activations.erf import Erf
from deqlab.activations.hard_tanh import HardTanh
from deqlab.activations.moments import Moments
from deqlab.activations.polynomial import Polynomial
from deqlab.activations.ramps import Identity, LeakyReLU, LReLU, ReLU
from deqlab.activations.smooth import Swish, Tanh

__all__ = [
    "ELU",
    "Activation",
    "Erf",
    "HardTanh",
    "Identity",
    "LReLU",
    "LeakyReLU",
    "Moments",
    "Polynomial",
    "ReLU",
    "Shifted",
    "Swish",
    "Tanh",
    "from_callable",
]
