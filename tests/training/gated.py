"""A cell with a knob whose rate is known: f(z, x) = tanh(knob Q z + x), Q orthogonal."""

import torch
from torch import nn

from deqlab.nn import Cell, Knob, Prepared


class Gated(Cell):
    """At x = 0 the fixed point is 0, J is knob Q, and Picard's residuals fall by the knob."""

    sample_dims = 1

    def __init__(self, width=8, gain=0.5, highest=4.0):
        super().__init__()
        q, _ = torch.linalg.qr(
            torch.randn(width, width, generator=torch.Generator().manual_seed(0))
        )
        self.weight = nn.Parameter(q)
        self.register_buffer("gain", torch.tensor(gain))
        self.highest = highest

    @property
    def knob(self):
        return Knob(name="gain", value=self.gain, highest=self.highest)

    def initial(self, x):
        return torch.zeros_like(x)

    def prepare(self, x):
        return Prepared(shared=self.gain * self.weight.mT, rows=x)

    def update(self, z, shared, rows):
        return torch.tanh(torch.addmm(rows, z, shared))
