"""The neurons of recurrent equilibrium networks, which contract at every weight.

    E x+ = F x + B1 w + B2 u + b_x,
    Lambda v = C1 x + D11 w + D12 u + b_v,    w = sigma(v),

whose neurons w are an equilibrium at each step. From a free matrix X, with n states and q neurons,

    H = X'X + eps I = [H11 H12 H13; H21 H22 H23; H31 H32 H33]    (n + q + n rows and columns)
    F = H31,  B1 = H32,  P = H33,  C1 = -H21,  E = (H11 + P / a^2 + Y1 - Y1') / 2,
    Lambda = diag(exp(l)),  D11 = Lambda - (H22 + Y2 - Y2') / 2

satisfy the matrix inequality under which any two trajectories with the same input come together,
|x_t - x'_t| <= const a^t |x_0 - x'_0|, in the metric E'P^-1 E; and as H22 > 0, the neurons have
one equilibrium. The rate a is set beforehand, in (0, 1]. Source: Revay, Wang & Manchester
(2023), "Recurrent equilibrium networks: flexible dynamic models with guaranteed stability and
robustness", IEEE TAC, Theorem 1 and section V.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count, check_positive
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import full_precision
from deqlab.nn.cells.vectors import check_scale, check_width, zeros
from deqlab.solvers.linear_operator import DenseOperator
from deqlab.solvers.monotone_map import MonotoneMap
from deqlab.solvers.proximal import Proximal, proximal
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.lipschitz_inequality import lipschitz_inequality

SLACK = 0.05
"""By how much the states forget more than they must at the start: A is (1 - SLACK) a I."""

LIGHT = 0.05
"""The multipliers at the start: the smaller, the larger C may be, and the smaller B."""

GAIN = 0.5
"""The initial scale of C: how much of the slack it takes."""

EPS = 1e-4
"""What X'X is lifted by."""


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """The neurons as w = sigma(C x + D w + D2 u + b_v), and what the states need of them.

    Attributes:
        c: C = Lambda^-1 C1, (q, n).
        d: D = Lambda^-1 D11, (q, q).
        multipliers: The diagonal of Lambda, (q,).
        h: H, (2n + q, 2n + q).
    """

    c: Tensor
    d: Tensor
    multipliers: Tensor
    h: Tensor


class RENCell(Cell[Tensor]):
    """f(w, [x, u]) = sigma(D w + C x + D2 u + b_v), the neurons of a contracting network.

    Shapes: its input is the state and the input of the network side by side,
    (..., num_states + num_inputs), and w (..., width). `REN` makes a network of it, and has the
    weights that only the states see. At the start A is near a I, so that the states remember, and
    B is zero.

    Args:
        num_inputs: Size of u, m.
        num_states: Size of x, n.
        width: Size of w, q.
        rate: a, in (0, 1].
        activation: sigma, as in `nn.MonotoneCell`.
        gain: Initial scale of C, in [0, 1): how much of the slack it takes.
    """

    sample_dims = 1

    def __init__(
        self,
        num_inputs: int,
        num_states: int,
        width: int,
        *,
        rate: float = 1.0,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        gain: float = GAIN,
    ) -> None:
        super().__init__()
        check_width(num_inputs, width)
        check_count("num_states", num_states)
        check_positive("rate", rate)
        check_scale("gain", gain)
        if rate > 1:
            raise ValueError(f"rate must be above 0, and at most 1, got {rate}")
        if gain >= 1:
            raise ValueError(f"gain must be 0 or more, and below 1, got {gain}")
        self.num_inputs, self.num_states, self.width = num_inputs, num_states, width
        self.rate = rate
        self.activation: Proximal = proximal(activation)
        self.feedback = DenseOperator()  # an attribute: compilers follow these
        self.free = nn.Parameter(_initial(num_states, width, rate, gain))
        self.skew_neurons = nn.Parameter(torch.zeros(width, width))
        self.log_multipliers = nn.Parameter(torch.full((width,), LIGHT).log())
        self.inject = nn.Linear(num_inputs, width)  # D2, b_v
        self._held: Neurons | None = None

    def neurons(self) -> Neurons:
        """Return C, D and Lambda at the present weights, in the dtype of the free matrix."""
        if self._held is not None:
            return self._held
        n, dtype = self.num_states, self.free.dtype
        weights = (self.free, self.skew_neurons, self.log_multipliers)
        with full_precision(*weights) as (free, skew, logarithm):
            h = free.mT @ free + EPS * torch.eye(len(free), dtype=free.dtype, device=free.device)
            lam = logarithm.exp()
            d11 = torch.diag(lam) - (h[n:-n, n:-n] + skew - skew.mT) / 2
            c, d = -h[n:-n, :n] / lam[:, None], d11 / lam[:, None]
        return Neurons(c=c.to(dtype), d=d.to(dtype), multipliers=lam.to(dtype), h=h.to(dtype))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Compute the neurons once for all steps inside, which share them on one tape."""
        self._held = self.neurons()
        try:
            yield
        finally:
            self._held = None

    @override
    def initial(self, x: Float[Tensor, "*B k"]) -> Float[Tensor, "*B q"]:
        return zeros(x, self.width)

    @override
    def prepare(self, x: Float[Tensor, "B k"]) -> Prepared:
        if x.shape[-1] != self.num_states + self.num_inputs:
            raise ValueError(
                f"{type(self).__name__} takes states and inputs side by side, (..., "
                f"{self.num_states} + {self.num_inputs}), got {tuple(x.shape)}"
            )
        net = self.neurons()
        state, u = x.split([self.num_states, self.num_inputs], dim=-1)
        return Prepared(shared=net.d, rows=torch.addmm(self.inject(u), state, net.c.mT))

    @property
    def update(self) -> MonotoneMap:  # type: ignore[override]
        """The map (w, D, q) -> sigma(D w + q), which shows its parts to the splitting methods.

        I - D is monotone in the inner product u' Lambda v, in which an elementwise proximal
        operator is what it was: these methods converge at every weight.
        """
        return MonotoneMap(self.activation, self.feedback)

    @override
    def certificate(self) -> Certificate:
        """Return what Lambda proves of the neurons; `REN.certificate` is about its trajectories."""
        with torch.no_grad():
            if (unknown := weights_not_finite(self)) is not None:
                return unknown
            net = self.neurons()
            return lipschitz_inequality(net.d, multipliers=net.multipliers)

    @override
    def extra_repr(self) -> str:
        return f"states={self.num_states}, width={self.width}, rate={self.rate}"

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_held": None}


def _initial(n: int, q: int, rate: float, gain: float) -> Tensor:
    """Return an X at which E = I, P = a^2 I, F = (1 - SLACK) a I, B1 = 0 and D11 = 0."""
    eye = torch.eye(n, dtype=torch.float64)
    # H > 0 as long as |C1|^2 / (2 LIGHT) is below the slack 1 - (1 - SLACK)^2.
    room = (2 * LIGHT * (1 - (1 - SLACK) ** 2)) ** 0.5
    c = torch.randn(q, n).double()
    c *= gain * room / LIGHT / torch.linalg.matrix_norm(c, ord=2)
    free = free_of((1 - SLACK) * rate * eye, eye / rate**2, c, rate)
    return free.to(torch.get_default_dtype())


def free_of(
    a: Float[Tensor, "n n"], metric: Float[Tensor, "n n"], c: Float[Tensor, "q n"], rate: float
) -> Float[Tensor, "k k"]:
    """Return an X at which the states are x+ = A x in this metric, and hear no neuron.

    With Lambda = LIGHT I: B1 = 0, D = 0, C = c, E = a^2 S and P = a^4 S, at which E'P^-1 E is S.
    """
    n, q = a.shape[0], c.shape[0]
    h = torch.zeros(2 * n + q, 2 * n + q, dtype=a.dtype, device=a.device)
    first, inside, last = slice(0, n), slice(n, n + q), slice(n + q, None)
    h[first, first] = rate**2 * metric
    h[inside, inside] = 2 * LIGHT * torch.eye(q, dtype=a.dtype, device=a.device)
    h[last, last] = rate**4 * metric
    h[last, first] = rate**2 * metric @ a
    h[first, last] = h[last, first].mT
    h[inside, first] = -LIGHT * c
    h[first, inside] = h[inside, first].mT
    free: Tensor = torch.linalg.cholesky(h - EPS * torch.eye(len(h), dtype=a.dtype)).mT
    return free


def metric_of(
    a: Float[Tensor, "n n"], c: Float[Tensor, "q n"], rate: float
) -> Float[Tensor, "n n"]:
    """Return an S in which A contracts by more than `rate`, with room for neurons that see C x.

    It solves a^2 S - A'S A = a^2 s I, of which C' LIGHT C / 2 takes the share GAIN^2 at most.

    Raises:
        ValueError: A has a spectral radius of `rate` or more.
    """
    radius = float(torch.linalg.eigvals(a).abs().max())
    if not radius < rate:
        raise ValueError(
            f"A must have a spectral radius below the rate {rate:g}, at which a network can "
            f"contract, got {radius:.6g}"
        )
    scaled, eye = a / rate, torch.eye(len(a), dtype=a.dtype, device=a.device)
    system = torch.eye(len(a) ** 2, dtype=a.dtype, device=a.device) - torch.kron(scaled, scaled).mT
    metric = torch.linalg.solve(system, eye.flatten()).view_as(eye)
    size = LIGHT * torch.linalg.matrix_norm(c, ord=2) ** 2 / (2 * GAIN**2 * rate**2)
    found: Tensor = size * (metric + metric.mT) / 2
    return found
