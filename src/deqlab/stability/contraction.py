"""The certificate of a map whose Lipschitz constant in z is bounded, or which is bounded itself.

Below 1 there is one fixed point, and plain iteration comes closer by that factor in each step
(Banach, 1922). At 1 and above a continuous map that sends everything into a ball still has a fixed
point (Brouwer, 1911), and nothing is known of how many, or of what an iteration does.
"""

from deqlab.stability.certificate import Certificate


def contraction(
    rate: float,
    how: str,
    *,
    injection: float,
    bounded: bool = False,
    perturbation: float | None = None,
) -> Certificate:
    """Return what follows from |f(z, q) - f(z', q)| <= rate |z - z'|.

    Args:
        rate: The bound, in the Euclidean norm.
        how: What it is made of, as a formula.
        injection: A bound on |f(z, q) - f(z, q')| / |q - q'|.
        bounded: Whether f is continuous, and its values are bounded whatever z is.
        perturbation: The change of weights, in the spectral norm, at which the bound reaches 1.

    Example:
        >>> contraction(0.5, "|W|", injection=1.0).lipschitz
        2.0
        >>> contraction(2.0, "|W|", injection=1.0, bounded=True).exists
        True
    """
    bound = f"{how} = {rate:.4g}"
    if rate < 1:
        return Certificate(
            theorem=f"f contracts in the Euclidean norm (Banach, 1922): {bound} is below 1",
            holds=True,
            margin=1 - rate,
            exists=True,
            unique=True,
            rate=rate,
            lipschitz=injection / (1 - rate),
            perturbation=perturbation,
        )
    known = "a fixed point exists, for f is bounded (Brouwer, 1911), but " if bounded else ""
    return Certificate(
        theorem=f"{known}no contraction is proved: {bound} would have to be below 1",
        holds=False,
        margin=1 - rate,
        exists=bounded,
    )
