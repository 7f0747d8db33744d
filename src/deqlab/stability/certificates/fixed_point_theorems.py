"""The theorems of Banach and Brouwer, of maps that are known by a bound alone.

A map whose Lipschitz constant in z is below 1 has one fixed point, and plain iteration comes closer
to it by that factor in each step (Banach 1922). A continuous map of a compact convex set into
itself has a fixed point (Brouwer 1911): where f ends in a normalisation or in saturating gates, its
values lie in one such set for all weights. Nothing is then known of how many there are, or of what
an iteration does.
"""

from dataclasses import replace

from deqlab.stability.certificate import Certificate


def contraction(
    rate: float,
    how: str,
    *,
    injection: float,
    norm: str = "2",
    bounded: bool = False,
    perturbation: float | None = None,
) -> Certificate:
    """Return what follows from |f(z, q) - f(z', q)| <= rate |z - z'|.

    Args:
        rate: The bound.
        how: What it is made of, as a formula.
        injection: A bound on |f(z, q) - f(z, q')| / |q - q'|, times what it costs to come from that
            norm to the Euclidean one.
        norm: The name of the norm.
        bounded: Whether f is continuous, and its values are bounded whatever z is.
        perturbation: The change of weights, in the spectral norm, at which the bound reaches 1.

    Example:
        >>> contraction(0.5, "|W|", injection=1.0).lipschitz
        2.0
        >>> contraction(2.0, "|W|", injection=1.0, bounded=True).theorem
        'f maps a ball into itself (Brouwer 1911); 2-norm: |W| = 2 is not below 1'
    """
    if rate < 1:
        return Certificate(
            theorem=f"{norm}-norm contraction: {how} < 1 (Banach 1922)",
            holds=True,
            margin=1 - rate,
            exists=True,
            unique=True,
            rate=rate,
            lipschitz=injection / (1 - rate),
            perturbation=perturbation,
        )
    missed = f"{norm}-norm: {how} = {rate:.4g} is not below 1"
    if bounded:
        existence = maps_into_itself("a ball")
        return replace(existence, theorem=f"{existence.theorem}; {missed}")
    return Certificate.unknown(missed, 1 - rate)


def maps_into_itself(region: str) -> Certificate:
    """Return the certificate of a continuous map that sends a compact convex set into itself.

    Args:
        region: The set, in words.

    Example:
        >>> certificate = maps_into_itself("the unit ball")
        >>> certificate.exists, certificate.unique
        (True, False)
    """
    theorem = f"f maps {region} into itself (Brouwer 1911)"
    return Certificate(theorem=theorem, holds=True, exists=True)
