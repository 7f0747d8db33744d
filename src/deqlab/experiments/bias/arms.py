"""The linear models that `diagonal-flow` compares, each started at equal coefficients.

All start at beta = s (1, .., 1): linear regression at b = s, the DEQ z = w z + x at w = 1 - 1/s,
the one with input weights at w = 0, u = s, the diagonal net at u = v = sqrt(s). The start that is
usual for a model is another question: w = 0 is s = 1, b = 0 and u = 0 are s = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.bias import Gated, Linear, Parametrisation, Product, Recurrent
from deqlab.bias.parametrisations import Parameters

Data = tuple[Float[np.ndarray, "m n"], Float[np.ndarray, " m"]]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A model with its starts.

    Attributes:
        label: What the report calls it.
        model: Its parametrisation.
        start: Its parameters where n coefficients have the value s.
        usual: The s it is started at by default.
    """

    label: str
    model: Parametrisation
    start: Callable[[float, int], Parameters]
    usual: float


def _linear(s: float, n: int) -> Parameters:
    return np.full((1, n), s)


def _recurrent(s: float, n: int) -> Parameters:
    return np.full((1, n), 1 - 1 / s)


def _gated(s: float, n: int) -> Parameters:
    return np.stack([np.zeros(n), np.full(n, s)])


def _net(s: float, n: int) -> Parameters:
    return np.full((2, n), s**0.5)


ARMS = {
    "deq": Arm(label="DEQ z = w z + x", model=Recurrent(), start=_recurrent, usual=1.0),
    "gated": Arm(label="DEQ z = w z + u x", model=Gated(), start=_gated, usual=0.0),
    "linear": Arm(label="Linear regression", model=Linear(), start=_linear, usual=0.0),
    # Of the starts at u = v, 0 is a saddle; 0.1 is a common small one.
    "net": Arm(label="Diagonal net u v", model=Product(), start=_net, usual=0.01),
}
DEQS = ("deq", "gated")
"""The arms that are trained as modules too."""


def draw(seed: int, *, samples: int, features: int) -> Data:
    """Return Gaussian inputs, and the targets of coefficients drawn from [1/2, 2]."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, features))
    return x, x @ rng.uniform(0.5, 2, size=features)


def tensors(data: Data) -> tuple[Float[Tensor, "m n"], Float[Tensor, " m"]]:
    """Return the data as tensors."""
    x, y = data
    return torch.from_numpy(x), torch.from_numpy(y)
