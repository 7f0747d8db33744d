"""What makes a DEQ well-posed: proved of its weights, measured at points, and kept in training.

A certificate is proved for every input; `spectral_radius` and `is_attracting` measure one point.
"""

from deqlab.stability import certificates, initialisation, regularization
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates import *  # noqa: F403
from deqlab.stability.convolutions import convolution_bound
from deqlab.stability.initialisation import *  # noqa: F403
from deqlab.stability.regularization import *  # noqa: F403
from deqlab.stability.slopes import Slope, slope_of
from deqlab.stability.spectral import is_attracting, leading_eigenvalue, spectral_radius

__all__ = [
    "Certificate",
    "Slope",
    "convolution_bound",
    "is_attracting",
    "leading_eigenvalue",
    "slope_of",
    "spectral_radius",
    *certificates.__all__,
    *initialisation.__all__,
    *regularization.__all__,
]
