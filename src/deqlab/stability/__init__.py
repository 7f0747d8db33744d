"""What makes a DEQ well-posed: what is proved, what is measured, and terms of a loss."""

from deqlab.stability import certificates, regularization
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates import *  # noqa: F403
from deqlab.stability.convolutions import convolution_bound
from deqlab.stability.regularization import *  # noqa: F403
from deqlab.stability.slopes import Slope, slope_of
from deqlab.stability.spectral import is_attracting, spectral_radius

__all__ = [
    "Certificate",
    "Slope",
    "convolution_bound",
    "is_attracting",
    "slope_of",
    "spectral_radius",
    *certificates.__all__,
    *regularization.__all__,
]
