"""Proximal gradient with a learned operator in the place of the proximal one.

    f(z, y) = D(t A'y + g (z - t A'A z)),    D(v) = (v - w M(v)) / (1 + w),    t = 1 / |A'A|.

At g = 1 it is D(z - t A'(A z - y)), DE-Prox of Gilton, Ongie & Willett (2021), "Deep Equilibrium
Architectures for Inverse Problems in Imaging". Their D is I + M, which may expand whatever M is,
so that their Theorem 2 says nothing of an A that loses something. This D mixes v and -M(v): where M
is e-Lipschitz with e < 1 it contracts by (1 + w e) / (1 + w), for every A, and with w = 1 it is the
resolvent of a monotone operator (Pesquet, Repetti, Terris & Wiaux 2021, "Learning Maximally
Monotone Operators for Image Recovery"). With an M of no bound it is as general as I + M.
"""

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from deqlab.nn.cells.base import Prepared
from deqlab.nn.cells.reconstruction import ReconstructionCell
from deqlab.nn.denoiser import Layers
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.reconstruction import proximal_gradient


class ProximalGradientCell(ReconstructionCell):
    """f(z, y) = D(t A'y + g (z - t A'A z)), D = (I - w M) / (1 + w); see `ReconstructionCell`.

    Example:
        >>> from deqlab.nn import Blur, Denoiser, gaussian_kernel
        >>> cell = ProximalGradientCell(Blur(gaussian_kernel(5, 5.0)), Denoiser(1, (16, 16)))
        >>> cell.certificate().unique
        True
    """

    @override
    def prepared(self, b: Float[Tensor, "B c H W"], weight: Tensor, gain: Tensor) -> Prepared:
        step = 1 / self.eigenvalues[1]
        return Prepared(shared=(step, weight, gain, self.denoiser.prepared()), rows=step * b)

    @override
    def update(
        self,
        z: Float[Tensor, "B c H W"],
        shared: tuple[float, Tensor, Tensor, Layers],
        rows: Tensor,
    ) -> Float[Tensor, "B c H W"]:
        step, weight, gain, layers = shared
        v = rows + gain * (z - step * self.measurement.normal(z))
        return (v - weight * self.denoiser.residual(v, layers)) / (1 + weight)

    @override
    def certificate(self) -> Certificate:
        """Return whether f is proved to contract, in the Euclidean norm.

        `lipschitz` bounds |z*(q) - z*(q')| / |q - q'| where q is t A'y.
        """
        return self.proved_by(proximal_gradient)
