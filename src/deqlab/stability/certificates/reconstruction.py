"""Iterations that reconstruct a picture from y = A x + noise with a learned residual M.

Let M have the Lipschitz constant e, and let all eigenvalues of A'A lie in [a, b], b > 0. For the
maps, with weights w > 0 and gains g >= 0,

    gradient step:      f(z) = q + g (z - t (A'A z + w (z + M(z)))),                t = 1 / (b + w)
    proximal gradient:  f(z) = D(q + g (z - t A'A z)), D(v) = (v - w M(v)) / (1 + w),   t = 1 / b
    data consistency:   f(z) = q - g w (A'A + w I)^-1 M(z)

the Lipschitz constants in the Euclidean norm are at most

    gradient step:      g (1 - t (a + w (1 - e)))
    proximal gradient:  g (1 - t a) (1 + w e) / (1 + w)
    data consistency:   g w e / (a + w)

since the linear parts are symmetric and their eigenvalues are known. Below 1 they contract (Banach
1922): for every a >= 0 where e < 1 and g <= 1. D = I + M has the bound 1 + e instead, and proves
nothing where a is nearly 0, as with a blur. Source: Gilton, Ongie & Willett (2021), "Deep
Equilibrium Architectures for Inverse Problems in Imaging", Theorem 1 for the first, there with
w = 1; the others are the triangle inequality.
"""

from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.fixed_point_theorems import contraction

ROUNDING = 1e-14
"""What the few sums and products below may lose, relative to 1."""


def gradient_step(
    residual: float, eigenvalues: tuple[float, float], *, weight: float, gain: float = 1.0
) -> Certificate:
    """Return what is proved of gradient steps.

    Args:
        residual: e, a bound on the Lipschitz constant of M.
        eigenvalues: a and b.
        weight: w.
        gain: g.

    Example:
        >>> round(gradient_step(0.5, (0.0, 1.0), weight=1.0).rate, 6)
        0.75
    """
    least, largest = eigenvalues
    rate = gain * (1 - (least + weight * (1 - residual)) / (largest + weight)) + ROUNDING
    how = "g (1 - t (a + w (1 - e))) (Gilton, Ongie & Willett 2021, Theorem 1)"
    return contraction(rate, how, injection=1.0)


def proximal_gradient(
    residual: float, eigenvalues: tuple[float, float], *, weight: float, gain: float = 1.0
) -> Certificate:
    """Return what is proved of proximal gradient; the arguments are those of `gradient_step`.

    Example:
        >>> round(proximal_gradient(0.5, (0.0, 1.0), weight=1.0).rate, 6)
        0.75
    """
    least, largest = eigenvalues
    operator = (1 + weight * residual) / (1 + weight)
    rate = gain * (1 - least / largest) * operator + ROUNDING
    return contraction(rate, "g (1 - t a) (1 + w e) / (1 + w)", injection=operator)


def data_consistency(
    residual: float, eigenvalues: tuple[float, float], *, weight: float, gain: float = 1.0
) -> Certificate:
    """Return what is proved of data consistency; the arguments are those of `gradient_step`.

    Example:
        >>> round(data_consistency(0.5, (0.0, 1.0), weight=1.0).rate, 6)
        0.5
    """
    rate = gain * weight * residual / (eigenvalues[0] + weight) + ROUNDING
    return contraction(rate, "g w e / (a + w)", injection=1.0)
