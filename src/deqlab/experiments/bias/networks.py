"""The networks whose features `feature-density` shows, each as features and a readout.

    y = sum_j v_j h_j(x) + c:  h = z* of a diagonal linear DEQ (v = 1, c = 0), h = z* of a DEQ
    z = relu(W z + U x + b), h = relu(U x + b) of an FNN (explicit feed-forward network)

all with one feature per input bit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.bias import DiagonalDEQ
from deqlab.gradients import Dense, Implicit
from deqlab.nn import DEQ, DenseCell, SpectralNorm
from deqlab.solution import Solution
from deqlab.solvers import Anderson, Newton

TRAIN = Newton(rtol=1e-5, max_steps=50)
TEST = Anderson(rtol=1e-6, max_steps=500)
"""At test time every DEQ is solved to convergence, by another method than in training."""

LABELS = {
    "diagonal": "Diagonal linear DEQ",
    "deq": "Vanilla DEQ",
    "fnn": "FNN, one hidden layer",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a network says at some points.

    Attributes:
        output: y.
        features: h.
        weights: v.
        solution: Of its fixed point, if it has one.
    """

    output: Float[Tensor, " N"]
    features: Float[Tensor, "N n"]
    weights: Float[Tensor, " n"]
    solution: Solution | None


class Network(nn.Module):
    """Features, a linear readout or none, and their answers.

    Args:
        features: A DEQ, or a module that returns h.
        readout: A linear layer to one output; None sums the features.
    """

    def __init__(self, features: nn.Module, readout: nn.Linear | None) -> None:
        super().__init__()
        self.features = features
        self.readout = readout

    def answer(self, x: Float[Tensor, "N p"]) -> Answer:
        """Return output and features at x."""
        solution = self.features.solve(x) if isinstance(self.features, DEQ) else None
        h: Tensor = self.features(x) if solution is None else solution.matrix
        if self.readout is None:
            weights = torch.ones_like(h[0])
            return Answer(output=h.sum(dim=1), features=h, weights=weights, solution=solution)
        return Answer(
            output=self.readout(h)[:, 0],
            features=h,
            weights=self.readout.weight[0],
            solution=solution,
        )

    def test(self) -> None:
        """Solve to convergence from now on."""
        if isinstance(self.features, DEQ):
            self.features.solver = TEST


def build(arm: str, num_features: int, gain: float) -> Network:
    """Return the network of an arm in float64, initialised from torch's global generator.

    Args:
        arm: Of `LABELS`.
        num_features: Inputs and features.
        gain: Initial scale of the vanilla DEQ's W.
    """
    gradient = Implicit(solver=Dense())
    if arm == "diagonal":
        # A bit of either sign is a feature of either sign: w = 0 has the coefficient 1.
        deq = DiagonalDEQ(torch.zeros(num_features, dtype=torch.float64)).deq
        return Network(deq, None)
    readout = nn.Linear(num_features, 1)
    if arm == "deq":
        cell = DenseCell(num_features, num_features, constraint=SpectralNorm(), gain=gain)
        features: nn.Module = DEQ(cell, solver=TRAIN, gradient=gradient, on_failure="ignore")
    else:
        features = nn.Sequential(nn.Linear(num_features, num_features), nn.ReLU())
    return Network(features, readout).double()
