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

from deqlab.activations.moments import Moments
from deqlab.kernels.kinds import Trained, check_trained

__all__ = ["Coefficients", "deq_coefficients"]


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """The coefficients of one network on data of a given norm.

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


def deq_coefficients(
    m: Moments,
    tau0: float,
    tau: float,
    *,
    sigma_a2: float,
    sigma_b2: float,
    trained: Trained | None,
) -> Coefficients:
    """Return those of a DEQ.

    Args:
        m: The moments of its activation at tau, centred.
        tau0: Root mean square norm of the data.
        tau: tau_*, the standard deviation of the pre-activations.
        sigma_a2: s_a.
        sigma_b2: s_b.
        trained: Which NTK the betas belong to; without it they are nan.
    """
    s_a, s_b = sigma_a2, sigma_b2
    rest = 1 - s_a * m.g1
    alpha1, alpha4 = s_b * m.g1 / rest, s_b / (1 - s_a * m.q / 2)
    inner = s_a * alpha1 + s_b  # the weight of X'X in S
    alpha2, alpha3 = m.g2 * alpha4**2 / (4 * rest), m.g2 * inner**2 / (2 * rest)
    beta1, beta3, kappa2 = alpha1, alpha3, m.gamma2
    if trained == "all":  # what the gradient of B adds: s_b D o X'X
        beta1, beta3 = beta1 + s_b * m.g1, beta3 + s_b * m.g2 * inner
        kappa2 = kappa2 + s_b * m.d * tau0**2
    beta1 = beta1 / rest
    known = 1.0 if trained is not None else math.nan
    return Coefficients(
        tau0=tau0,
        taus=(tau,),
        alpha1=alpha1,
        alpha2=alpha2,
        alpha3=alpha3,
        alpha4=alpha4,
        gamma2=m.gamma2,
        beta1=known * beta1,
        beta2=known * alpha2 / rest,
        beta3=known * (beta3 + beta1 * s_a * m.g2 * inner) / rest,
        kappa2=known * kappa2 / (1 - s_a * m.d),
    )
