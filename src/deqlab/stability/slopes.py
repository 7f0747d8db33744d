"""What certificates need of an activation: its Lipschitz constant, and whether it never falls.

Both are known for functions by name. Nothing here is measured: the largest slope that is seen on a
grid proves nothing. Constants that are not round are rounded up.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from deqlab.activations.elu import ELU
from deqlab.activations.erf import Erf
from deqlab.activations.hard_tanh import HardTanh
from deqlab.activations.ramps import Ramp
from deqlab.activations.smooth import Tanh
from deqlab.solvers.proximal import Proximal, Sigmoid


@dataclass(frozen=True, kw_only=True)
class Slope:
    """What bounds the derivative of an activation.

    Attributes:
        lipschitz: Its Lipschitz constant, or a number above it.
        nondecreasing: Whether it is nowhere negative.
    """

    lipschitz: float = 1.0
    nondecreasing: bool = True


_UNIT = Slope()
_WAVE = Slope(nondecreasing=False)
_SIGMOID = Slope(lipschitz=0.25)
_SILU = Slope(lipschitz=1.1, nondecreasing=False)  # 1.09984
_GELU = Slope(lipschitz=1.13, nondecreasing=False)  # 1.12904, and less for the tanh formula
_MISH = Slope(lipschitz=1.09, nondecreasing=False)  # 1.08850
_SELU = Slope(lipschitz=1.7581)  # scale alpha, 1.758099, left of 0
_HARDSIGMOID = Slope(lipschitz=1 / 6 * (1 + 1e-15))
_ERF = Slope(lipschitz=2 / math.sqrt(math.pi) * (1 + 1e-15))

_FUNCTIONS: tuple[tuple[Callable[..., Any], Slope], ...] = (
    *((f, _UNIT) for f in (torch.relu, functional.relu, functional.relu6, nn.ReLU, nn.ReLU6)),
    *((f, _UNIT) for f in (torch.tanh, functional.tanh, nn.Tanh, nn.Identity, nn.Softsign)),
    *((f, _UNIT) for f in (functional.softsign, functional.logsigmoid, nn.LogSigmoid, torch.atan)),
    *((f, _WAVE) for f in (torch.sin, torch.cos, torch.abs)),
    *((f, _SIGMOID) for f in (torch.sigmoid, functional.sigmoid, nn.Sigmoid)),
    *((f, _SILU) for f in (functional.silu, nn.SiLU)),
    *((f, _GELU) for f in (functional.gelu, nn.GELU)),
    *((f, _MISH) for f in (functional.mish, nn.Mish)),
    *((f, _SELU) for f in (torch.selu, functional.selu, nn.SELU)),
    *((f, _HARDSIGMOID) for f in (functional.hardsigmoid, nn.Hardsigmoid)),
    *((f, _UNIT) for f in (functional.hardtanh, functional.elu, functional.leaky_relu)),
    (torch.erf, _ERF),
)
"""Functions at their default settings, and classes of modules that have none that matter."""


def slope_of(activation: object) -> Slope | None:
    """Return what bounds the slope of an activation; None where it is not known.

    Args:
        activation: A function of torch, a module of torch.nn, an activation of
            `deqlab.activations`, or a proximal operator.
    """
    for known, slope in _FUNCTIONS:
        if activation is known or type(activation) is known:
            return slope
    if isinstance(activation, Sigmoid):
        return _SIGMOID
    if isinstance(activation, Proximal):
        return _UNIT  # what makes it a proximal operator
    if isinstance(activation, Ramp):
        return _ramp(*activation.slopes)
    # No subclasses: they may compute anything.
    kind = type(activation)
    if kind in (Tanh, nn.Hardtanh):
        return _UNIT
    if kind is Erf:
        return _ERF
    if isinstance(activation, HardTanh) and kind is HardTanh:
        return _ramp(activation.a, activation.a)
    if isinstance(activation, nn.LeakyReLU) and kind is nn.LeakyReLU:
        return _ramp(activation.negative_slope, 1.0)
    if isinstance(activation, nn.ELU | ELU) and kind in (nn.ELU, ELU):
        return _ramp(float(activation.alpha), 1.0)
    return None


def _ramp(left: float, right: float) -> Slope:
    return Slope(lipschitz=max(abs(left), abs(right)), nondecreasing=min(left, right) >= 0)
