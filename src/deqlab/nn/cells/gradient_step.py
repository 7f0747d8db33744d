"""Gradient steps on the data and on a learned regulariser.

    f(z, y) = t A'y + g (z - t (A'A z + w (z + M(z)))),        t = 1 / (|A'A| + w).

At g = 1 it is z - t (A'(A z - y) + w (z + M(z))), where z + M(z) stands for the gradient of a
regulariser, and w > 0 for its weight. Where M is e-Lipschitz with e < 1 the equation has one
solution for every A, since w e is below the least eigenvalue of A'A + w I. The factor of a step,
1 - t (a + w (1 - e)) with a the least eigenvalue of A'A, is close to 1 where A loses something.
Source: Gilton, Ongie & Willett (2021), "Deep Equilibrium Architectures for Inverse Problems in
Imaging", DE-Grad and its Theorem 1, there with w = 1.
"""

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.nn.cells.base import Prepared
from deqlab.nn.cells.reconstruction import ReconstructionCell
from deqlab.nn.denoiser import Layers
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.reconstruction import gradient_step


class GradientStepCell(ReconstructionCell):
    """f(z, y) = t A'y + g (z - t (A'A z + w (z + M(z)))); see `ReconstructionCell`.

    Example:
        >>> import torch
        >>> from deqlab.nn import Denoiser, Mask
        >>> cell = GradientStepCell(Mask(torch.rand(16, 16) < 0.5), Denoiser(1, (16, 16)))
        >>> cell.certificate().unique
        True
    """

    @override
    def prepared(self, b: Float[Tensor, "B c H W"], weight: Tensor, gain: Tensor) -> Prepared:
        step = 1 / (self.eigenvalues[1] + weight)
        return Prepared(shared=(step, weight, gain, self.denoiser.prepared()), rows=step * b)

    @override
    def update(
        self,
        z: Float[Tensor, "B c H W"],
        shared: tuple[Tensor, Tensor, Tensor, Layers],
        rows: Tensor,
    ) -> Float[Tensor, "B c H W"]:
        step, weight, gain, layers = shared
        slope = self.measurement.normal(z) + weight * (z + self.denoiser.residual(z, layers))
        return rows + gain * (z - step * slope)

    @override
    def certificate(self) -> Certificate:
        """Return whether f is proved to contract, in the Euclidean norm.

        `lipschitz` bounds |z*(q) - z*(q')| / |q - q'| where q is t A'y.
        """
        return self.proved_by(gradient_step)
