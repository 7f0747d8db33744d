"""Where a fixed point exists whatever the weights are.

Brouwer (1911): a continuous map of a compact convex set into itself has a fixed point. Where a map
ends in a normalisation or in saturating gates, its values lie in one such set for all weights, and
so does a fixed point for every input. The theorem says neither that there is only one, nor that an
iteration finds it.
"""

from deqlab.stability.certificate import Certificate


def maps_into_itself(region: str) -> Certificate:
    """Return the certificate of a continuous map that sends a compact convex set into itself.

    Args:
        region: The set, in words.

    Example:
        >>> certificate = maps_into_itself("the unit ball")
        >>> certificate.exists, certificate.unique
        (True, False)
    """
    theorem = f"Brouwer (1911): f is continuous and maps {region} into themselves"
    return Certificate(theorem=theorem, holds=True, exists=True)
