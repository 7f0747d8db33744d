"""The numbers that decide a kernel in high dimension.

In high dimension a conjugate kernel (CK) G and a tangent kernel (NTK) K of Gaussian mixtures are
close, in spectral norm, to

    Gbar = alpha1 X'X + V C_alpha V' + (gamma2 - tau0^2 alpha1) I,
    Kbar = beta1  X'X + V C_beta V'  + (kappa2 - tau0^2 beta1) I,

where V and the means and covariances in C are statistics of the data (see `equivalents`). Two
networks with the same four numbers have the same kernel. Published for deep equilibrium models by
Ling et al. (2024, arXiv:2402.02697), for explicit networks by Gu et al. (2024, arXiv:2403.00258).
"""

import math
from dataclasses import dataclass

from deqlab.kernels.kinds import check_trained

__all__ = ["Coefficients"]


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Of one network on data of a given norm.

    Attributes:
        tau0: The root mean square norm of the data.
        taus: Standard deviations of the pre-activations: tau_* of a DEQ; tau_0, ..., tau_(L-1) of
            an explicit network of L layers.
        alpha1: Weight of X'X in the CK.
        alpha2: Weight of what differs between classes in norm.
        alpha3: Weight of what differs between classes in covariance.
        alpha4: The root of what the square of the network's features adds; only the next layer
            sees it.
        gamma2: The diagonal of the CK.
        beta1: As alpha1, of the NTK; likewise beta2 and beta3.
        beta2: See beta1.
        beta3: See beta1.
        kappa2: The diagonal of the NTK.
    """

    tau0: float
    taus: tuple[float, ...]
    alpha1: float
    alpha2: float
    alpha3: float
    alpha4: float
    gamma2: float
    beta1: float
    beta2: float
    beta3: float
    kappa2: float

    @property
    def conjugate(self) -> tuple[float, float, float, float]:
        """What decides the CK: alpha1, alpha2, alpha3, and the multiple of the identity."""
        return (
            self.alpha1,
            self.alpha2,
            self.alpha3,
            self.gamma2 - self.tau0**2 * self.alpha1,
        )

    @property
    def tangent(self) -> tuple[float, float, float, float]:
        """What decides the NTK: beta1, beta2, beta3, and the multiple of the identity.

        Raises:
            ValueError: The coefficients were asked for without saying which weights train.
        """
        if math.isnan(self.beta1):
            check_trained(None)
        return self.beta1, self.beta2, self.beta3, self.kappa2 - self.tau0**2 * self.beta1
