"""The moments of an activation that decide its kernels in high dimension.

With xi ~ N(0, 1) and arguments tau xi (Ling et al. 2024, arXiv:2402.02697; Gu et al. 2024,
arXiv:2403.00258). Second derivatives of a kinked phi are distributions; integration by parts
(Stein: E[xi h(xi)] = E[h'(xi)]) leaves the first ones only:

    E[phi''] = E[xi phi'] / tau,    E[(phi^2)''] = 2 E[xi phi phi'] / tau
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Moments:
    """The moments of phi at one tau, or of phi less its mean there.

    Attributes:
        mean: E[phi], before centring.
        g1: E[phi']^2.
        g2: E[phi'']^2.
        q: E[(phi^2)''].
        gamma2: E[phi^2].
        d: E[phi'^2].
    """

    mean: float
    g1: float
    g2: float
    q: float
    gamma2: float
    d: float
