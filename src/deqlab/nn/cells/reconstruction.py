"""What cells have in common that reconstruct a picture from its measurements y = A x + noise.

The fixed point is a picture that agrees with y as far as a learned regulariser lets it. The state
starts at A'y. Source: Gilton, Ongie & Willett (2021), "Deep Equilibrium Architectures for Inverse
Problems in Imaging". The gain g that multiplies the state is deqlab's own: at g = 1 these are the
published iterations, and the less it is, the more is what A does not measure drawn to 0.
"""

from abc import abstractmethod
from collections.abc import Callable
from math import log

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_kind, check_positive
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.denoiser import Denoiser
from deqlab.nn.knob import Knob, check_gain
from deqlab.nn.measurements.base import Measurement
from deqlab.stability.certificate import Certificate, weights_not_finite


class ReconstructionCell(Cell[Tensor]):
    """f(z, y) of a measurement A and a learned residual M; y and z have the same shape.

    Shapes: y and z (..., channels, H, W), of the channels and the size of the denoiser.

    Args:
        measurement: A.
        denoiser: D = I + M. With its cap below 1 the cell contracts for every A, and without a cap
            `RateControl` can hold it at its equilibrium.
        weight: w at the start, more than 0; it is learned.
        gain: g at the start, between 0 and 1; `knob` is what sets it.

    Raises:
        TypeError: An argument is of another kind.
        ValueError: A does not take pictures of the size of the denoiser, or a number is outside
            its domain.
    """

    gain: Float[Tensor, ""]

    sample_dims = 3

    def __init__(
        self,
        measurement: Measurement,
        denoiser: Denoiser,
        *,
        weight: float = 0.03,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        check_kind("measurement", measurement, Measurement, example="Blur(gaussian_kernel(5, 5.0))")
        check_kind("denoiser", denoiser, Denoiser, example="Denoiser(1, (32, 32))")
        check_positive("weight", weight)
        check_gain(gain, 1.0)
        self.measurement, self.denoiser = measurement, denoiser
        self.log_weight = nn.Parameter(torch.tensor(log(weight)))
        self.register_buffer("gain", torch.tensor(float(gain)))
        self.eigenvalues = measurement.eigenvalues(denoiser.size)
        if not self.eigenvalues[1] > 0:
            raise ValueError("the measurement is zero, and no picture can be told from it")

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="gain", value=self.gain, highest=1.0)

    @override
    def initial(self, y: Float[Tensor, "*B c H W"]) -> Float[Tensor, "*B c H W"]:
        self._check(y)
        return self.measurement.adjoint(y)

    @override
    def prepare(self, y: Float[Tensor, "B c H W"]) -> Prepared:
        self._check(y)
        # A copy of g: a controller may set it before the backward pass.
        return self.prepared(self.measurement.adjoint(y), self.log_weight.exp(), self.gain.clone())

    @abstractmethod
    def prepared(self, b: Float[Tensor, "B c H W"], weight: Tensor, gain: Tensor) -> Prepared:
        """Return what is constant in z, from b = A'y, w and g."""

    @torch.no_grad()
    def proved_by(self, theorem: Callable[..., Certificate]) -> Certificate:
        """Return what a theorem of `stability.certificates.reconstruction` proves of the cell."""
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        return theorem(
            self.denoiser.lipschitz(),
            self.eigenvalues,
            weight=float(self.log_weight.exp()),
            gain=float(self.gain),
        )

    def _check(self, y: Tensor) -> None:
        expected = (self.denoiser.channels, *self.denoiser.size)
        if tuple(y.shape[-3:]) != expected:
            raise ValueError(
                f"{type(self).__name__} takes measurements of shape (..., {expected[0]}, "
                f"{expected[1]}, {expected[2]}), the size at which its operator norms are taken, "
                f"got {tuple(y.shape)}"
            )
