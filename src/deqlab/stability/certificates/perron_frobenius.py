"""Well-posedness by the Perron-Frobenius theory, for any Lipschitz and for nondecreasing phi.

With |phi(a) - phi(b)| <= L |a - b|, two solutions differ by |e| <= L (|W| |e| + |q - q'|), entry by
entry: `comparison` with N = |W|. If the spectral radius of |W| is below 1 / L, there is one fixed
point, and plain iteration comes closer by L rho in the norm max_i |e_i| / v_i, v the vector of
the proof. Source: El Ghaoui, Gu, Travacca, Askari & Tsai (2021), "Implicit Deep Learning", SIAM J.
Math. Data Sci. 3(3).

If phi is nondecreasing too, e_i = s_i (W e + d)_i with 0 <= s_i <= L, so that

    (1 / L - W_ii) |e_i| <= sum_(j != i) |W_ij| |e_j| + |d_i|:

N is then the Metzler part of W, |W| with the diagonal of W itself, and a diagonal however negative
does no harm. An averaged iteration (1 - a) z + a f(z) contracts; plain iteration need not. Source:
Jafarpour, Davydov, Proskurnikov & Bullo (2021), "Robust Implicit Networks via Non-Euclidean
Contractions", NeurIPS.
"""

import torch
from torch import Tensor

from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.comparison import compare, estimate
from deqlab.stability.certificates.matrices import Square, checked, not_finite

LIPSCHITZ = "Perron-Frobenius: L rho(|W|) < 1 (El Ghaoui et al. 2021)"
NONDECREASING = "Metzler part of W: L alpha(Mzl W) < 1 (Jafarpour et al. 2021)"


def perron_frobenius(weight: Tensor, *, slope: float = 1.0) -> Certificate:
    """Return what the spectral radius of |W| proves of z = phi(W z + q).

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi.

    Raises:
        ValueError: W is no square matrix, or `slope` is not above 0.
    """
    w = checked(weight, slope)
    return not_finite(w) or _certificate(
        w.abs(), slope, LIPSCHITZ, "Perron-Frobenius: L rho(|W|)", contracts=True
    )


def metzler(weight: Tensor, *, slope: float = 1.0) -> Certificate:
    """Return what the Metzler part of W proves of z = phi(W z + q), for nondecreasing phi.

    Args:
        weight: W, (n, n).
        slope: The Lipschitz constant of phi.

    Raises:
        ValueError: W is no square matrix, or `slope` is not above 0.
    """
    w = checked(weight, slope)
    return not_finite(w) or _certificate(
        metzler_part(w), slope, NONDECREASING, "Metzler: L alpha(Mzl W)", contracts=False
    )


def metzler_part(w: Square) -> Square:
    """Return |W| with the diagonal of W."""
    return torch.where(torch.eye(len(w), dtype=torch.bool), w, w.abs())


def _certificate(
    n: Square, slope: float, theorem: str, measured: str, *, contracts: bool
) -> Certificate:
    """Return the certificate of the comparison with N.

    Args:
        n: N.
        slope: L.
        theorem: What proves it.
        measured: What is not below 1 where nothing does.
        contracts: Whether the radius of N bounds the rate of plain iteration.
    """
    found = compare(n, 1 / slope)
    if found is None:
        radius = slope * estimate(n)
        return Certificate.unknown(
            f"{measured} = {radius:.4g} is not below 1 by more than rounding", 1 - radius
        )
    return Certificate(
        theorem=theorem,
        holds=True,
        margin=1 - slope * found.radius,
        exists=True,
        unique=True,
        rate=slope * found.radius if contracts else None,
        lipschitz=found.lipschitz,
        perturbation=found.perturbation,
    )
