"""The linear observer that networks begin at: least squares, and the gain of a Kalman filter.

    x+ = M x + K (y - x_1),    y = x_1,

M is the linear map of least squares from states to the next ones. What it leaves is error of the
velocity alone, for a position is moved by the velocity in a step: K is the gain of the Kalman
filter (Anderson & Moore 1979) with noise of unit variance on the velocity, and on the measurement
the noise at which the error of the filter has its poles at a distance of about w per second from 0,
with a damping of .7.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.control.riccati import lqr
from deqlab.tasks.spring_box import DT


@dataclass(frozen=True, kw_only=True)
class LinearObserver:
    """x+ = A x + K y.

    Attributes:
        a: A = M - K [1 0], (2, 2).
        gain: K, (2, 1).
    """

    a: Tensor
    gain: Tensor


def linear_observer(
    before: Float[Tensor, "N 2"], after: Float[Tensor, "N 2"], *, bandwidth: float
) -> LinearObserver:
    """Return the observer of the linear system that fits best.

    Args:
        before: States.
        after: The next ones.
        bandwidth: w, in radians per second.
    """
    before, after = before.double(), after.double()
    m = torch.linalg.lstsq(before, after).solution.mT
    measure = torch.tensor([[1.0, 0.0]], dtype=m.dtype)
    on_state = torch.diag(torch.tensor([0.0, 1.0], dtype=m.dtype))
    on_measurement = torch.full((1, 1), 1 / (bandwidth**2 * DT) ** 2, dtype=m.dtype)
    # A Kalman filter is the regulator of the transposed system.
    gain = lqr(m.mT, measure.mT, on_state, on_measurement).gain.mT
    return LinearObserver(a=m - gain @ measure, gain=gain)
