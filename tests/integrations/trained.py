"""A small model that every loop trains alike, a loop in plain Python, and the law by hand."""

import copy
import math
from itertools import chain

import torch
from torch import nn

from deqlab import DEQ, Picard
from deqlab.training import ConvergenceLog, RateControl, Stop
from tests.training.gated import Gated

LEARNING_RATE = 0.1


def model(gain=0.9, rtol=1e-3):
    """A DEQ that starts near the edge: its rate is about the gain."""
    torch.manual_seed(0)
    solver = Picard(rtol=rtol, max_steps=60)
    cell = Gated(gain=gain)
    cell.weight.data = cell.weight.data.contiguous()  # safetensors saves nothing else
    return nn.Sequential(
        nn.Linear(4, 8), DEQ(cell, solver=solver, on_failure="ignore"), nn.Linear(8, 1)
    )


def batches(count, seed=3):
    generator = torch.Generator().manual_seed(seed)
    xs = 0.3 * torch.randn(count, 6, 4, generator=generator)
    return [(x, x.prod(dim=1, keepdim=True)) for x in xs]


def loss(net, x, y):
    return (net(x) - y).square().mean()


def optimiser(net):
    return torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)


def control(net):
    return RateControl(net, target=0.4)


def stopping(net):
    """A log that ends training after three steps of a layer that misses its equilibrium."""
    return ConvergenceLog(net, policy=Stop(), window=3)


def plainly(net, data, *, every, accumulate=1, autocast=None):
    """Train in plain Python; return the rows of the log."""
    optimizer, held, log = optimiser(net), control(net), ConvergenceLog(net)
    for index, (x, y) in enumerate(data, start=1):
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            value = loss(net, x, y)
        (value / accumulate).backward()
        if index % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            held.step()
            log.step()
            if index // accumulate % every == 0:
                log.row()
    return log.rows


def layer_of(net):
    return next(part for part in net.modules() if isinstance(part, DEQ))


class Rates:
    """Keeps the rate of each sample of each solve in train mode, to tell the knob by the law."""

    def __init__(self, net):
        self.layer, self.rates = layer_of(net), []
        self.gain = self.layer.cell.gain.item()
        self.layer.observers.append(self._see)

    def _see(self, solve):
        if self.layer.training:
            pairs = zip(solve.rate.tolist(), solve.converged.tolist(), strict=True)
            self.rates.append([rate if done else max(1.0, rate) for rate, done in pairs])

    def knob_by_the_law(self, *, solves_a_step=1, target=0.4, speed=0.1, highest=4.0):
        """knob <- knob exp(speed clip(log(target / q), -1, .1)), q the 75 % quantile of a step."""
        gain = self.gain
        for start in range(0, len(self.rates), solves_a_step):
            rates = sorted(chain.from_iterable(self.rates[start : start + solves_a_step]))
            place = 0.75 * (len(rates) - 1)
            low, part = math.floor(place), place % 1
            q = rates[low] * (1 - part) + (rates[low + 1] * part if part else 0)
            gain = min(highest, gain * math.exp(speed * max(-1, min(0.1, math.log(target / q)))))
        return gain


def twin(net):
    return copy.deepcopy(net)
