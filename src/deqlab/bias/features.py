"""Networks y = sum_j v_j h_j(x) + c whose features h_j can be compared, one for each input.

    diagonal   h = z* of a diagonal linear DEQ, with v = 1 and c = 0
    deq        h = z* of a DEQ z = relu(W z + U x + b)
    fnn        h = relu(U x + b), an FNN (explicit feed-forward network) of one hidden layer

Source of the comparison: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on
Expressivity and Learning Dynamics", Figure 2.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.bias.diagonal import DiagonalDEQ
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import Dense
from deqlab.nn.cells.constraints import SpectralNorm
from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.deq import DEQ
from deqlab.solution import Solution
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.newton import Newton

TRAIN = Newton(rtol=1e-5, max_steps=50)
TEST = Anderson(rtol=1e-6, max_steps=500)
"""At test time every DEQ is solved to convergence, by another method than in training."""


class Network(nn.Module):
    """Features, and a linear readout to one output; without a readout the features are summed.

    Args:
        features: A DEQ, or a module that returns h.
        readout: The readout; None sums the features.
    """

    def __init__(self, features: nn.Module, readout: nn.Linear | None) -> None:
        super().__init__()
        self.features = features
        self.readout = readout

    def answer(self, x: Float[Tensor, "N p"]) -> "Answer":
        """Return output and features at x."""
        solution = self.features.solve(x) if isinstance(self.features, DEQ) else None
        h: Tensor = self.features(x) if solution is None else solution.matrix
        if self.readout is None:
            return Answer(h.sum(dim=1), h, torch.ones_like(h[0]), solution)
        return Answer(self.readout(h)[:, 0], h, self.readout.weight[0], solution)

    def test(self) -> None:
        """Solve to convergence from now on."""
        if isinstance(self.features, DEQ):
            self.features.solver = TEST


@dataclass(frozen=True)
class Answer:
    """What a network says at some points.

    Attributes:
        output: y.
        features: h.
        weights: v.
        solution: The solve of its fixed point, if it has one.
    """

    output: Float[Tensor, " N"]
    features: Float[Tensor, "N n"]
    weights: Float[Tensor, " n"]
    solution: Solution | None


def build(kind: str, num_features: int, gain: float) -> Network:
    """Return a network in float64, initialised from torch's global generator.

    Args:
        kind: "diagonal", "deq" or "fnn".
        num_features: The number of inputs and of features.
        gain: The initial scale of the vanilla DEQ's W.
    """
    gradient = Implicit(solver=Dense())
    if kind == "diagonal":
        # A bit of either sign is a feature of either sign: w = 0 has the coefficient 1.
        deq = DiagonalDEQ(torch.zeros(num_features, dtype=torch.float64)).deq
        return Network(deq, None)
    readout = nn.Linear(num_features, 1)
    if kind == "deq":
        cell = DenseCell(num_features, num_features, constraint=SpectralNorm(), gain=gain)
        features: nn.Module = DEQ(cell, solver=TRAIN, gradient=gradient, on_failure="ignore")
    else:
        features = nn.Sequential(nn.Linear(num_features, num_features), nn.ReLU())
    return Network(features, readout).double()


def magnitudes(features: Float[Tensor, "N n"], weights: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return mean_x |v_j h_j(x)| of each feature."""
    return (features * weights).abs().mean(dim=0)
