"""The data solved for exactly in each step, beside what is learned.

    f(z, y) = (A'A + w I)^-1 (A'y - g w M(z)).

At g = 1 its fixed point is that of gradient steps, A'(A z - y) + w (z + M(z)) = 0, with the linear
part inverted and not descended: where M is e-Lipschitz a step comes closer by w e / (a + w), with a
the least eigenvalue of A'A, which is below e however much A loses. It takes an A whose A'A is
diagonal in a known basis: a circular blur, or a mask. Unrolled it is the network of Aggarwal, Mani
& Jacob (2019), "MoDL: Model-Based Deep Learning Architecture for Inverse Problems", whose denoiser
is -M here.
"""

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.nn.cells.base import Prepared
from deqlab.nn.cells.reconstruction import ReconstructionCell
from deqlab.nn.denoiser import Denoiser, Layers
from deqlab.nn.measurements.base import Measurement
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.reconstruction import data_consistency


class DataConsistencyCell(ReconstructionCell):
    """f(z, y) = (A'A + w I)^-1 (A'y - g w M(z)); see `ReconstructionCell`.

    Raises:
        ValueError: Also where A'A is diagonal in no known basis.

    Example:
        >>> from deqlab.nn import Blur, Denoiser, gaussian_kernel
        >>> cell = DataConsistencyCell(Blur(gaussian_kernel(5, 5.0)), Denoiser(1, (16, 16)))
        >>> cell.certificate().unique
        True
    """

    def __init__(self, measurement: Measurement, denoiser: Denoiser, **options: float) -> None:
        super().__init__(measurement, denoiser, **options)
        measurement.spectrum(denoiser.size)  # raises where there is no basis

    @override
    def prepared(self, b: Float[Tensor, "B c H W"], weight: Tensor, gain: Tensor) -> Prepared:
        spectrum = self.measurement.spectrum(self.denoiser.size).to(weight)
        inverse = 1 / (spectrum + weight)
        shared = gain * weight * inverse, self.denoiser.prepared()
        return Prepared(shared=shared, rows=self.measurement.scaled(b, inverse))

    @override
    def update(
        self, z: Float[Tensor, "B c H W"], shared: tuple[Tensor, Layers], rows: Tensor
    ) -> Float[Tensor, "B c H W"]:
        factors, layers = shared
        return rows - self.measurement.scaled(self.denoiser.residual(z, layers), factors)

    @override
    def certificate(self) -> Certificate:
        """Return whether f is proved to contract, in the Euclidean norm.

        `lipschitz` bounds |z*(q) - z*(q')| / |q - q'| where q is (A'A + w I)^-1 A'y.
        """
        return self.proved_by(data_consistency)
