"""A network of `RENCell`: states that evolve, neurons at an equilibrium, and outputs."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.control.contraction import Explicit, contraction
from deqlab.control.recurrent import LIGHT, RENCell, free_of, metric_of
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.cells.constraints import full_precision
from deqlab.nn.deq import DEQ
from deqlab.solvers.base import Solver
from deqlab.solvers.splitting import PeacemanRachford
from deqlab.stability.certificate import Certificate

SPLITTING = PeacemanRachford(rtol=1e-5, max_steps=500, patience=100)
"""What finds the neurons if nothing else is asked for."""


class REN(nn.Module):
    """A recurrent equilibrium network, contracting at every weight; see `recurrent`.

    Args:
        num_inputs: Size of u.
        num_states: Size of x.
        width: Neurons.
        num_outputs: Size of y = C2 x + D21 w + D22 u + b_y; None makes the state the output.
        rate: a, in (0, 1]: a bound on the factor by which two trajectories come closer in a step.
        activation: sigma, as in `nn.MonotoneCell`.
        solver: The method that finds the neurons. Their map shows its parts (see `RENCell`), and
            the splitting methods find them at every weight; Newton and Anderson may not.
        gradient: How they are differentiated.

    Attributes:
        deq: The layer whose equilibrium the neurons are.

    Example:
        >>> import torch
        >>> net = REN(1, 2, 8, rate=0.9)
        >>> outputs, states = net(torch.zeros(4, 10, 1))
        >>> outputs.shape, states.shape
        (torch.Size([4, 10, 2]), torch.Size([4, 11, 2]))
        >>> net.certificate().holds
        True
    """

    def __init__(
        self,
        num_inputs: int,
        num_states: int,
        width: int,
        *,
        num_outputs: int | None = None,
        rate: float = 1.0,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        solver: Solver[Any] = SPLITTING,
        gradient: Gradient = Implicit(),
    ) -> None:
        super().__init__()
        if num_outputs is not None:
            check_count("num_outputs", num_outputs)
        cell = RENCell(num_inputs, num_states, width, rate=rate, activation=activation)
        self.deq = DEQ(cell, solver=solver, gradient=gradient)
        self.skew_states = nn.Parameter(torch.zeros(num_states, num_states))
        self.drive = nn.Linear(num_inputs, num_states)  # B2, b_x
        self._held: Explicit | None = None
        size = num_states + width + num_inputs
        self.readout = None if num_outputs is None else nn.Linear(size, num_outputs)

    @property
    def cell(self) -> RENCell:
        """The parametrisation."""
        cell = self.deq.cell
        assert isinstance(cell, RENCell)
        return cell

    def start_at(self, a: Float[Tensor, "n n"], b: Float[Tensor, "n m"]) -> None:
        """Become the linear system x+ = A x + B u, which hears no neuron.

        What the neurons hear is drawn from torch's generator: C, of unit variance. A network that
        begins near what it shall be, such as a linear observer, has only the rest to learn.

        Args:
            a: A, of a spectral radius below the rate.
            b: B.

        Raises:
            ValueError: A shape is wrong, or A does not contract by the rate in any metric.

        Example:
            >>> net = REN(1, 2, 8, rate=0.9)
            >>> net.start_at(torch.tensor([[0.5, 1.0], [0.0, 0.5]]), torch.ones(2, 1))
            >>> net(torch.ones(1, 1, 1), torch.ones(1, 2))[1][0, 1]
            tensor([2.5000, 1.5000], grad_fn=<SelectBackward0>)
        """
        cell = self.cell
        n, m = cell.num_states, cell.num_inputs
        if tuple(a.shape) != (n, n) or tuple(b.shape) != (n, m):
            raise ValueError(
                f"A and B must have the shapes ({n}, {n}) and ({n}, {m}), got {tuple(a.shape)} and "
                f"{tuple(b.shape)}"
            )
        with torch.no_grad():
            a, b = (each.to("cpu", torch.float64) for each in (a, b))
            c = torch.randn(cell.width, n).double()
            metric = metric_of(a, c, cell.rate)
            cell.free.copy_(free_of(a, metric, c, cell.rate))
            cell.log_multipliers.fill_(math.log(LIGHT))
            self.drive.weight.copy_(cell.rate**2 * metric @ b)
            for zero in (self.skew_states, cell.skew_neurons, self.drive.bias):
                zero.zero_()

    def explicit(self) -> Explicit:
        """Return the network at the present weights, by one factorisation of E."""
        if self._held is not None:
            return self._held
        cell, neurons = self.cell, self.cell.neurons()
        n, dtype = cell.num_states, cell.free.dtype
        drive = torch.cat([self.drive.weight, self.drive.bias[:, None]], dim=1)
        with full_precision(neurons.h, self.skew_states, drive) as (h, skew, driven):
            p = h[-n:, -n:]
            e = (h[:n, :n] + p / cell.rate**2 + skew - skew.mT) / 2
            right = torch.cat([h[-n:, :-n], driven], dim=1)
            a, b, inputs = torch.linalg.solve(e, right).split([n, cell.width, len(driven.mT)], 1)
            metric = e.mT @ torch.linalg.solve(p, e)
        a, b, inputs, metric = (each.to(dtype) for each in (a, b, inputs, metric))
        c, d, multipliers = neurons.c, neurons.d, neurons.multipliers
        return Explicit(a=a, b=b, inputs=inputs, c=c, d=d, multipliers=multipliers, metric=metric)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Compute the network once for all steps inside, which share it on one tape."""
        with self.cell.held():
            self._held = self.explicit()
            try:
                yield
            finally:
                self._held = None

    def step(
        self, state: Float[Tensor, "*B n"], u: Float[Tensor, "*B m"]
    ) -> tuple[Float[Tensor, "*B n"], Float[Tensor, "*B p"]]:
        """Return the next state, and the output at this one."""
        with self.held():
            return self._step(state, u)

    @override
    def forward(
        self, inputs: Float[Tensor, "B T m"], state: Float[Tensor, "B n"] | None = None
    ) -> tuple[Float[Tensor, "B T p"], Float[Tensor, "B S n"]]:
        """Return the outputs at each step, and the states: T + 1 of them, the first one given.

        Args:
            inputs: u_0, ..., u_{T-1}.
            state: x_0; None is 0.
        """
        if state is None:
            state = inputs.new_zeros(len(inputs), self.cell.num_states)
        states, outputs = [state], []
        with self.held():
            for u in inputs.unbind(dim=1):
                state, y = self._step(state, u)
                states.append(state)
                outputs.append(y)
        return torch.stack(outputs, dim=1), torch.stack(states, dim=1)

    def _step(self, state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        net = self.explicit()
        w = self.deq(torch.cat([state, u], dim=-1))
        drive, bias = net.inputs[:, :-1], net.inputs[:, -1]
        after = state @ net.a.mT + w @ net.b.mT + u @ drive.mT + bias
        if self.readout is None:
            return after, state
        return after, self.readout(torch.cat([state, w, u], dim=-1))

    def certificate(self) -> Certificate:
        """Return what is proved of its trajectories at the present weights."""
        with torch.no_grad():
            return contraction(self.explicit(), self.cell.rate)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_held": None}
