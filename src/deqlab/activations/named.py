"""Activations by the names that commands and configs have for them."""

from deqlab.activations.base import Activation
from deqlab.activations.elu import ELU
from deqlab.activations.erf import Erf
from deqlab.activations.hard_tanh import HardTanh
from deqlab.activations.ramps import Identity, LeakyReLU, ReLU
from deqlab.activations.smooth import Swish, Tanh

ACTIVATIONS: dict[str, Activation] = {
    "relu": ReLU(),
    "tanh": Tanh(),
    "leaky_relu": LeakyReLU(0.1),
    "elu": ELU(),
    "swish": Swish(),
    "erf": Erf(),
    "hard_tanh": HardTanh(),
    "identity": Identity(),
}
