"""Which kernel is meant, of which activation."""

from typing import Literal, TypeAlias

from deqlab.activations.base import Activation
from deqlab.activations.elu import ELU
from deqlab.activations.erf import Erf
from deqlab.activations.hard_tanh import HardTanh
from deqlab.activations.ramps import Identity, LeakyReLU, ReLU
from deqlab.activations.smooth import Swish, Tanh

Kind: TypeAlias = Literal["conjugate", "tangent"]

Trained: TypeAlias = Literal["readout+recurrent", "all"]
"""Which weights of a DEQ a tangent kernel belongs to: all but B, or all."""


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
"""Activations by the names that commands and configs have for them."""


def check_kind(kind: str) -> None:
    """Raise ValueError unless `kind` names a kernel."""
    if kind not in ("conjugate", "tangent"):
        raise ValueError(f'kind is "conjugate" or "tangent", got {kind!r}')


def check_trained(trained: str | None) -> None:
    """Raise ValueError unless `trained` names a set of weights."""
    if trained not in ("readout+recurrent", "all"):
        raise ValueError(
            'trained is "readout+recurrent", as published, or "all", whose tangent kernel is '
            f"another by about a half; got {trained!r}"
        )
